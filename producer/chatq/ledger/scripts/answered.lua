-- Reads the answer to a question.
--
-- ARGV[1]  id of the question
-- Returns JSON, false when there is none yet; an answer is read once, and forgotten after a while unread.

local answer = call('GET', key('answer', ARGV[1]))
if answer then call('DEL', key('answer', ARGV[1])) end
return answer
