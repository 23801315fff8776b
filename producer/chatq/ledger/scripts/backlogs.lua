-- Reads what waited and ran at connections in the last hour. Changes nothing.
--
-- ARGV[1..]  connections
-- Returns {now in minutes since 1970, then for each connection its samples, in no order: see `sample_backlogs`}.
-- It reads one key for each connection, of 60 fields at most.
-- Atomic, so that the connections are of one moment.

local reply = {int(math.floor(now / SAMPLE_MS))}
for i, connection in ipairs(ARGV) do
  local fields, samples = call('HGETALL', key('backlog', connection)), {}
  for j = 2, #fields, 2 do samples[j / 2] = fields[j] end
  reply[i + 1] = samples
end
return reply
