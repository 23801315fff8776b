-- Deletes an open batch that nothing came into.
--
-- ARGV[1]  batch id
-- Returns 1; 0: it has jobs, is sealed, or there is none.
-- Atomic, because a job may be coming into it at the same moment.

local b = call('HMGET', key('batch', ARGV[1]), 'sealed', 'total')
if b[1] ~= '0' or b[2] ~= '0' then return 0 end
call('ZREM', OPEN, ARGV[1])
forget_batch(ARGV[1], 1)
return 1
