-- Reads what is going on.
--
-- ARGV[1..]  connections
-- Returns {now in ms, number of workers, then for each: id, facts (JSON), slots, held, ms until its lease ends,
-- then for each connection: queued, running}.
-- Atomic, so that the numbers are of one moment.

local reply = {int(now)}
local workers = call('ZRANGE', WORKERS, 0, -1, 'WITHSCORES')
reply[2] = int(#workers / 2)
for i = 1, #workers, 2 do
  local w = call('HMGET', key('worker', workers[i]), 'facts', 'slots')
  for _, value in ipairs({workers[i], w[1] or '{}', w[2] or '0', int(call('ZCARD', key('held', workers[i]))),
    int(tonumber(workers[i + 1]) - now)}) do
    reply[#reply + 1] = value
  end
end
for _, connection in ipairs(ARGV) do
  local c = call('HMGET', key('connection', connection), 'queued', 'running')
  reply[#reply + 1] = c[1] or '0'
  reply[#reply + 1] = c[2] or '0'
end
return reply
