-- Writes the failed record of a job that was refused where nobody waits for an answer: what a Celery client submitted.
--
-- ARGV[1]  job id      ARGV[2]  connection, as it was named      ARGV[3]  its ending (JSON without braces)
-- Returns 1, or 0 when there is a job of this id already: it stays as it is.
-- It counts for no connection, and cannot be tried again: there is no request.
-- Atomic, because the same message may come twice.

local id = ARGV[1]
if is_known(id) then return 0 end
local job = {id = id, state = 'failed', place = 'end', connection = ARGV[2], created = int(now), finished = int(now),
  flow = table.concat({'5', ARGV[2], '', 'single'}, SEPARATOR), ending = ARGV[3]}
call('HSET', key('job', id), 'state', job.state, 'place', job.place, 'flow', job.flow, 'created', job.created, 'finished',
  job.finished)
call('SET', key('result', id), record(job))
local keep = tonumber(rule('keep_ms') or '604800000')
call('ZADD', ENDED, int(now + keep), 'job:' .. id)
call('PUBLISH', key('done', id), job.state)
return 1
