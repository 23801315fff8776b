-- Reads what calls of a model cost, for a caller whose batch counts dollars; asks for it when it is not known yet.
--
-- ARGV[1]  connection      ARGV[2]  model
-- Returns the price as `tell_prices` takes it, empty when the leading worker has not told it yet, or false when no worker is
-- alive that could.

local name = ARGV[1] .. SEPARATOR .. ARGV[2]
local price = call('HGET', PRICES, name)
if price then return price end
if live_workers() == 0 then return false end
call('SADD', WANTED_PRICES, name)
call('PEXPIRE', WANTED_PRICES, PRICES_KEPT_MS)
return ''
