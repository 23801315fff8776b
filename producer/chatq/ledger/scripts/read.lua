-- Reads records.
--
-- ARGV[1..]  job ids
-- Returns a record (JSON) for each id, false where there is none.
-- Atomic, because a job may become final between two reads.

local reply = {}
for i, id in ipairs(ARGV) do
  local result = call('GET', key('result', id))
  if not result then
    local job = load(id)
    if job then result = record(job) end
  end
  reply[i] = result or false
end
return reply
