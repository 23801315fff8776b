-- Deletes final jobs of a batch whose results their caller has put somewhere safe. The batch's counts stay, and so does what
-- failed: it can be tried again until it has been kept for its time.
--
-- ARGV[1]  batch id      ARGV[2...]  job ids
-- Returns the number of jobs that were deleted.
-- Atomic, because a deleted job's id may be another job's in the next moment.

run_without_memory()
local count = 0
for i = 2, #ARGV do
  local job = call('HMGET', key('job', ARGV[i]), 'batch', 'state', 'place')
  if job[1] == ARGV[1] and job[3] == 'end' and job[2] ~= 'failed' then
    forget(ARGV[i])
    count = count + 1
  end
end
return count
