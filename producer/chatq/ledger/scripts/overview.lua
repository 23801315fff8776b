-- Reads what is going on.
--
-- ARGV[1..]  connections
-- Returns {now in ms, ms for which something that the clock does has been due, jobs of all connections that wait or run,
-- those that were not asked for too, number of workers that hold a lease,
-- then for each: id, facts (JSON), slots, held, ms until its lease ends, ms for which it has stalled (or empty): it comes to
-- none of its messages although jobs were given to it,
-- then for each connection: queued, running, why it is paused (JSON, or empty), ms until which its provider asked to wait
-- (or empty), breaker ('closed', 'open', 'half_open': the time for a probe has come), ms of the next probe of an open one (or
-- empty), the connection that serves its jobs (empty: none, it is paused), and what it has spent: see `spending_of`}.
-- A connection has a lane for each model: what is told is the worst of those that its account uses now.
-- Atomic, so that the numbers are of one moment.

local workers = call('ZRANGEBYSCORE', WORKERS, '(' .. int(now), '+inf', 'WITHSCORES')
local due = now
for _, set in ipairs({LANES, LATER}) do due = math.min(due, tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or now)) end
local reply = {int(now), int(now - due), call('HGET', TOTALS, 'jobs') or '0', int(#workers / 2)}
for i = 1, #workers, 2 do
  local w = call('HMGET', key('worker', workers[i]), 'facts', 'slots', 'stalled')
  for _, value in ipairs({workers[i], w[1] or '{}', w[2] or '0', int(call('ZCARD', key('held', workers[i]))),
    int(tonumber(workers[i + 1]) - now), w[3] and int(now - tonumber(w[3])) or ''}) do
    reply[#reply + 1] = value
  end
end

-- A lane that cools down or remembers failures is among LANES: see `tidy_lane`.
local accounts = {}
for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
  local condition = condition_of(lane)
  local account = account_of(lane)
  local worst = accounts[account] or {cool = 0, breaker = 'closed', probe = 0}
  accounts[account] = worst
  worst.cool = math.max(worst.cool, condition.cool)
  if condition.breaker == 'open' or worst.breaker == 'closed' then worst.breaker = condition.breaker end
  worst.probe = math.max(worst.probe, condition.probe)
end

local function moment_or_none(ms) return ms > 0 and int(ms) or '' end

for _, connection in ipairs(ARGV) do
  local c = call('HMGET', key('connection', connection), 'queued', 'running')
  local lane = lane_of_fallback(connection, '')
  local worst = accounts[account_of(lane)] or {cool = 0, breaker = 'closed', probe = 0}
  for _, value in ipairs({c[1] or '0', c[2] or '0', call('HGET', PAUSED, connection) or '', moment_or_none(worst.cool),
    worst.breaker, moment_or_none(worst.probe), server_of(connection, '', lane) or ''}) do
    reply[#reply + 1] = value
  end
  reply[#reply + 1] = spending_of(connection)
end
return reply
