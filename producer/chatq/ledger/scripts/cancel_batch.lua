-- Cancels a batch: none of its jobs is admitted any more; the clock then makes them final in chunks.
--
-- ARGV[1]  batch id      ARGV[2]  most jobs to make final in this call
-- Returns 'unknown', 'ended' (it had ended before), 'more' (call again, or leave the rest to the clock) or 'done'.
-- Atomic, because the batch may be growing and its jobs beginning at the same moment.

local k = key('batch', ARGV[1])
run_without_memory()
if call('EXISTS', k) == 0 then return 'unknown' end
if call('HEXISTS', k, 'ended') == 1 then return 'ended' end
if call('HEXISTS', k, 'cancel') == 0 then
  call('HSET', k, 'cancel', '1', 'sealed', '1', 'swept', '0')
  call('HDEL', k, 'paused', 'moving', 'used_up', 'needs')
  call('ZREM', OPEN, ARGV[1])
  call('ZADD', SWEEPS, int(now), ARGV[1])
  for _, flow in ipairs(call('SMEMBERS', k .. ':flows')) do close_flow(flow) end
end
local most = tonumber(ARGV[2])
return sweep(ARGV[1], most) == most and 'more' or 'done'
