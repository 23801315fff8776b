-- A worker has come to a message that it sent itself: its consumer hears.
--
-- ARGV[1]  worker
-- Returns 1. Atomic, because admission may be choosing a worker.

run_without_memory()
note_messages(ARGV[1], 0, 1)
return 1
