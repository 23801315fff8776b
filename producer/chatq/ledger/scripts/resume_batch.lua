-- Resumes a paused batch.
--
-- ARGV[1]  batch id
-- Returns 'unknown', 'ended', 'cancelled' (nothing was done), or 'resumed', also when it was not paused.
-- Atomic, because the batch may be growing and its jobs coming back at the same moment.

local k = key('batch', ARGV[1])
run_without_memory()
local over = batch_is_over(ARGV[1])
if over then return over end
local since = call('HGET', k, 'paused')
if since then
  call('HDEL', k, 'paused')
  call('HINCRBY', k, 'paused_ms', int(now - tonumber(since)))
  move_flows(call('SMEMBERS', k .. ':flows'))
  call('PUBLISH', KICK, '')
end
return 'resumed'
