-- Cancels a job: at once when it waits; a running one is asked to stop, and is final when its worker says so or dies.
--
-- ARGV[1]  job id
-- Returns 'unknown', 'cancelled' (now), 'stopping', or the final state that it already has.
-- Atomic, because the job may be beginning or ending at the same moment.

local job = load(ARGV[1])
if not job then return 'unknown' end
run_without_memory()
return cancel(job)
