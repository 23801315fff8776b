-- Reads a batch's facts and counts.
--
-- ARGV[1]  batch id
-- Returns false when unknown, else the batch as JSON.
-- Atomic, so that the counts sum to the total.

local b = call('HMGET', key('batch', ARGV[1]), 'sealed', 'cancel', 'created', 'ended', 'metadata', 'total', 'queued',
  'running', 'succeeded', 'failed', 'cancelled', 'expired')
if not b[1] then return false end
return table.concat({'{"id":"', ARGV[1], '","sealed":', b[1] == '1' and 'true' or 'false', ',"cancel_requested":',
  b[2] and 'true' or 'false', ',"created_at":', moment(b[3]), ',"ended_at":', moment(b[4]), ',"counts":{"total":', b[6],
  ',"queued":', b[7], ',"running":', b[8], ',"succeeded":', b[9], ',"failed":', b[10], ',"cancelled":', b[11],
  ',"expired":', b[12], '},"metadata":', b[5], '}'})
