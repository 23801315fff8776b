-- Makes an empty batch that jobs can be enqueued into until it is sealed.
--
-- ARGV[1]  batch id      ARGV[2]  metadata (JSON)      ARGV[3]  ms to keep it and its jobs after its end
-- ARGV[4]  the batch whose failed jobs it is to try again, or empty
-- ARGV[5]  what it may cost, in billionths of a dollar, or empty      ARGV[6]  the tokens that it may take, or empty
-- Returns 1, or 0 when there is such a batch already.

local k = key('batch', ARGV[1])
if call('EXISTS', k) == 1 then return 0 end
call('HSET', k, 'sealed', '0', 'created', int(now), 'metadata', ARGV[2], 'keep', ARGV[3], 'total', 0, 'queued', 0,
  'running', 0, 'succeeded', 0, 'failed', 0, 'cancelled', 0, 'expired', 0)
if ARGV[4] ~= '' then call('HSET', k, 'retry_of', ARGV[4]) end
set_budgets(ARGV[1], ARGV[5], ARGV[6])
call('ZADD', BATCHES, int(now), ARGV[1])
keep_open(ARGV[1], ARGV[3])
return 1
