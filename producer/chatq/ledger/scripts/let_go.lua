-- Deletes final jobs of a batch whose results their caller has put somewhere safe. The batch's counts stay, and so does what
-- failed: it can be tried again until it has been kept for its time.
--
-- ARGV[1]  batch id      ARGV[2...]  job ids
-- Returns the number of jobs that were deleted.
-- Atomic, because a deleted job's id may be another job's in the next moment.

run_without_memory()
local count = 0
for i = 2, #ARGV do
  local job = load_of(ARGV[1], ARGV[i])
  if job and job.place == 'end' and job.state ~= 'failed' then
    forget(job)
    count = count + 1
  end
end
return count
