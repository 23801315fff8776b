-- Resumes a paused batch, and raises its budgets.
--
-- ARGV[1]  batch id      ARGV[2]  what it may cost, in billionths of a dollar, or empty: as it is
-- ARGV[3]  the tokens that it may take, or empty: as it is
-- Returns 'unknown', 'ended', 'cancelled', 'used_up' (a budget would have nothing left for its next job; nothing was done),
-- or 'resumed', also when it was not paused.
-- Atomic, because the batch may be growing and its jobs coming back at the same moment.

local k = key('batch', ARGV[1])
run_without_memory()
local over = batch_is_over(ARGV[1])
if over then return over end
local b = call('HMGET', k, 'paused', 'used_up', 'needs', 'max_cost', 'max_tokens')
local allowed = {cost = tonumber(ARGV[2] ~= '' and ARGV[2] or b[4] or nil), tokens = tonumber(ARGV[3] ~= '' and ARGV[3] or b[5] or nil)}
if b[2] and allowed[b[2]] < tonumber(b[3]) then return 'used_up' end
set_budgets(ARGV[1], ARGV[2], ARGV[3])
call('HDEL', k, 'used_up', 'needs')
if b[1] then
  call('HDEL', k, 'paused')
  call('HINCRBY', k, 'paused_ms', int(now - tonumber(b[1])))
  move_flows(call('SMEMBERS', k .. ':flows'))
  call('PUBLISH', KICK, '')
end
return 'resumed'
