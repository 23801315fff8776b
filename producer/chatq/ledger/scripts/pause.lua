-- An operator pauses a connection: nothing of it is admitted until it is resumed, calls under way go on.
--
-- ARGV[1]  connection      ARGV[2]  JSON members code, message and remedy, without braces
-- Returns 1.
-- Atomic, because the flows of the connection are taken out of their lanes in the same moment.

run_without_memory()
pause(ARGV[1], ARGV[2], true)
return 1
