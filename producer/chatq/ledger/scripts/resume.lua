-- Resumes a paused connection; its calls then set in one by one.
--
-- ARGV[1]  connection      ARGV[2]  '1': not an operator asks, but a check proved that the cause is gone
-- Returns 1, or 0 when it was not paused, or is paused by an operator and only a check asks.
-- Atomic, because its flows go back to their lanes in the same moment.

run_without_memory()
if not resume(ARGV[1], ARGV[2] == '1') then return 0 end
call('PUBLISH', KICK, '')
return 1
