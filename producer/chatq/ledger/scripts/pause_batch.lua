-- Pauses a batch: none of its jobs is admitted until it is resumed; those under way go on, and wait when they come back.
--
-- ARGV[1]  batch id
-- Returns 'unknown', 'ended', 'cancelled' (nothing was done), or 'paused'.
-- Atomic, because the batch may be growing and its jobs coming back at the same moment. It touches the batch's flows,
-- not its jobs.

local k = key('batch', ARGV[1])
run_without_memory()
local over = batch_is_over(ARGV[1])
if over then return over end
if call('HSETNX', k, 'paused', int(now)) == 1 then move_flows(call('SMEMBERS', k .. ':flows')) end
return 'paused'
