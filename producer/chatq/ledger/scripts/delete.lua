-- Deletes the data of a final job now.
--
-- ARGV[1]  job id
-- Returns 'unknown', 'deleted', or the state of a job that is not final: it was not touched.
-- Atomic, because the job may be becoming final.

local job = load(ARGV[1])
if not job then return 'unknown' end
if job.place ~= 'end' then return job.state end
forget(job)
call('ZREM', ENDED, 'job:' .. job.id)
return 'deleted'
