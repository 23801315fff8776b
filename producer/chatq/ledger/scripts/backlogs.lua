-- Reads what waited and ran at connections in the last hour. Changes nothing.
--
-- ARGV[1..]  connections
-- Returns {now in minutes since 1970, then for each connection its samples, in no order: see `sample_backlogs`}.
-- It reads one key for each connection, of 60 fields at most.
-- Atomic, so that the connections are of one moment.

local reply = {int(math.floor(now / measures.sample_ms))}
for i, connection in ipairs(ARGV) do reply[i + 1] = call('HVALS', key('backlog', connection)) end
return reply
