-- Reads a batch's facts and counts.
--
-- ARGV[1]  batch id
-- Returns false when unknown, else the batch as JSON.
-- Atomic, so that the counts sum to the total.

return batch_record(ARGV[1]) or false
