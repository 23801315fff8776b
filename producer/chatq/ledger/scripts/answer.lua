-- A worker answers a question, for whoever asked and, about a connection's status, for everyone.
--
-- ARGV[1]  id of the question, or empty      ARGV[2]  the answer (JSON)
-- ARGV[3]  connection whose status outcome this is, or empty      ARGV[4]  ms for which the asker may read it
-- Returns 1.

run_without_memory()
if ARGV[3] ~= '' then call('SET', key('status', ARGV[3]), ARGV[2]) end
if ARGV[1] ~= '' then
  call('SET', key('answer', ARGV[1]), ARGV[2], 'PX', ARGV[4])
  call('PUBLISH', key('answered', ARGV[1]), '1')
end
return 1
