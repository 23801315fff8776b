-- The leading worker tells what calls cost.
--
-- ARGV[1..]  for each: connection, model, price ('CALL:PROMPT:ANSWER' in billionths of a dollar for a call, a token of a prompt
--            and one of an answer, or '-': nobody knows)
-- Returns 1.
-- Atomic, because the lanes that wait for the price are asked in the same moment.

local MOST_PRICES = 1000      -- callers may name any model
if call('HLEN', PRICES) >= MOST_PRICES then call('DEL', PRICES) end
for i = 1, #ARGV, 3 do
  call('HSET', PRICES, ARGV[i] .. SEPARATOR .. ARGV[i + 1], ARGV[i + 2])
  call('ZADD', LANES, 'XX', int(now), lane_of(ARGV[i], ARGV[i + 1]))
end
-- All together: what was told first may go by another hour of the day.
if call('PTTL', PRICES) < 0 then call('PEXPIRE', PRICES, PRICES_KEPT_MS) end
call('PUBLISH', KICK, '')
return 1
