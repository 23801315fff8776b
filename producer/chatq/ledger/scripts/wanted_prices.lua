-- Takes the prices that are to be told, each once: whoever misses one asks again.
--
-- ARGV[1]  most of them
-- Returns a flat list of (connection, model).

local reply = {}
for _, name in ipairs(call('SPOP', WANTED_PRICES, tonumber(ARGV[1]))) do
  local at = string.find(name, SEPARATOR, 1, true)
  reply[#reply + 1], reply[#reply + 2] = string.sub(name, 1, at - 1), string.sub(name, at + 1)
end
return reply
