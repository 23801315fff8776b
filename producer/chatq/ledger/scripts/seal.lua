-- Says that no more jobs come into a batch. It ends when all of them are final.
--
-- ARGV[1]  batch id
-- Returns 1, or 0 when there is no such batch.

local k = key('batch', ARGV[1])
if call('EXISTS', k) == 0 then return 0 end
call('ZREM', OPEN, ARGV[1])
call('HSET', k, 'sealed', '1')
batch_maybe_ended(ARGV[1])
return 1
