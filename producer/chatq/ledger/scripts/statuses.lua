-- Reads the last status outcomes.
--
-- ARGV[1..]  connections
-- Returns JSON for each, false for one never checked.

local reply = {}
for i, connection in ipairs(ARGV) do reply[i] = call('GET', key('status', connection)) end
return reply
