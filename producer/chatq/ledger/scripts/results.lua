-- Reads final records of a batch, in the order in which they became final, or in that in which they were enqueued.
--
-- ARGV[1]  batch id      ARGV[2]  cursor: how many were read before      ARGV[3]  most records      ARGV[4]  most bytes
-- ARGV[5]  '1': in the order of enqueueing, up to the first that is not final
-- Returns false when the batch is unknown, else {next cursor, '1' when no more will come, records (JSON) ...}.
-- Records that were deleted meanwhile are passed over.
-- Atomic, so that "no more will come" is true of the same moment.

local k = key('batch', ARGV[1])
if call('EXISTS', k) == 0 then return false end
local from, bytes = tonumber(ARGV[2]), 0
local list = k .. (ARGV[5] == '1' and ':jobs' or ':ended')
local records = {}
for _, id in ipairs(call('LRANGE', list, int(from), int(from + tonumber(ARGV[3]) - 1))) do
  local job = load_of(ARGV[1], id)
  local result = job and call('GET', key('result', id))
  if job and not result then break end
  bytes = bytes + (result and #result or 0)
  if #records > 0 and bytes > tonumber(ARGV[4]) then break end
  if result then records[#records + 1] = result end
  from = from + 1
end
local over = call('HEXISTS', k, 'ended') == 1 and from >= call('LLEN', list)
return {int(from), over and '1' or '0', unpack(records)}
