-- Reads the batches that were made last.
--
-- ARGV[1]  most of them
-- Returns each as JSON, the newest first.
-- Atomic, so that the counts of each sum to its total.

local reply = {}
for _, batch in ipairs(call('ZREVRANGE', BATCHES, 0, tonumber(ARGV[1]) - 1)) do
  reply[#reply + 1] = batch_record(batch)
end
return reply
