-- Lets jobs of a lane go, as far as limits, slots and fairness allow now.
--
-- ARGV[1]  lane      ARGV[2]  most jobs to admit      ARGV[3]  random part of the tokens
-- Returns {why no more may go now, ms until a try is worth it, then the admitted jobs as `admit` of `admission.lua` names
-- them}. Why: 'empty', 'more' (the most was reached), 'cooling', 'concurrency', 'slots', 'no_worker', 'claims',
-- 'suspects' (what waits may be what kills workers, and each has as much of that as it may), 'version' (what waits has
-- fields that no worker alive knows).
-- Atomic, because allowance, slot and claim are taken together or not at all.
-- Invariant: calls in flight exceed neither the lane's concurrency nor the workers' slots (but for the few that every
-- lane may always have).

run_without_memory()
local admitted = {}
local reason, wait = admit(ARGV[1], tonumber(ARGV[2]), ARGV[3], admitted)
local reply = {reason, int(wait)}
for _, part in ipairs(admitted) do reply[#reply + 1] = part end
return reply
