-- The leading worker takes the questions that were asked.
--
-- ARGV[1]  most questions
-- Returns two for each: the question (JSON), and the worker that is to answer it: the one with most room.
-- Atomic, so that each question is taken once.

local worker = call('ZREVRANGE', ROOM, 0, 0)[1] or call('ZREVRANGE', STALLED, 0, 0)[1]
if not worker then return {} end
local reply = {}
for _, question in ipairs(call('LPOP', P .. ':asked', tonumber(ARGV[1])) or {}) do
  reply[#reply + 1] = question
  reply[#reply + 1] = worker
end
return reply
