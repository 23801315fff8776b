-- Tells the caller of a running job more of its answer. From the first time on the job is not called again, whatever
-- happens: see `wait_again`.
--
-- ARGV[1]  job id      ARGV[2]  token      ARGV[3]  how many deltas were told before
-- ARGV[4...]  the next deltas, each a list of chunk choices (JSON)
-- Returns 'stale' when the token does not hold the job any more, or the server forgot what was told before (fsync: everysec):
-- nothing was told, and nothing can be; else 'told'.
-- Telling again after a lost reply tells nothing twice, because what is there is counted.
-- Atomic, so that nobody can be told something by a worker that has lost the job.

local job = call('HMGET', key('job', ARGV[1]), 'token', 'place', 'told')
if job[1] ~= ARGV[2] or job[2] ~= 'held' then return 'stale' end
local k = key('deltas', ARGV[1])
local known = call('LLEN', k) - tonumber(ARGV[3])
if #ARGV - 3 <= known then return 'told' end
if not job[3] then call('HSET', key('job', ARGV[1]), 'told', '1') end
if known < 0 then return 'stale' end
for i = 4 + known, #ARGV do call('RPUSH', k, ARGV[i]) end
call('PUBLISH', key('done', ARGV[1]), 'delta')
return 'told'
