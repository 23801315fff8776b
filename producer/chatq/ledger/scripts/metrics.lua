-- Reads what is counted, and how much of their limits connections use, for those who watch. Changes nothing.
--
-- ARGV[1..]  connections
-- Returns {sums of the whole: names and values (see TOTALS), the times that are counted: {name, bound in ms, ...} each,
-- then for each connection: {final states, each with the number of its jobs}, ms for which it has been paused in all, what is
-- counted of it: names and values (see `measures.lua`), its limits: {kind, limit, used, ...}}.
-- A connection has a lane for each model: of each kind of limit the lane is told that has used most of its own, of the
-- default model's and of those that have something to do. Callers may name any model, so no lane is told by its name.
-- It reads a few keys for each connection and each of these lanes, however many jobs there are.
-- Atomic, so that the numbers are of one moment.

local MOST_LANES = 200
local FINAL = {'succeeded', 'failed', 'cancelled', 'expired'}

-- Fields of a hash that are numbers, as names and values.
local function numbers(k, names)
  local told = {}
  for i, number in ipairs(call('HMGET', k, unpack(names))) do told[2 * i - 1], told[2 * i] = names[i], number or '0' end
  return told
end

local totals = numbers(TOTALS, {'jobs', 'bytes', 'came', 'lost_leases', 'lost_claims', 'stale'})
local times = {}
for _, time in ipairs({'line', 'call', 'added'}) do
  local told = {time}
  for i, bound in ipairs(TIME_BOUNDS[time]) do told[i + 1] = int(bound) end
  times[#times + 1] = told
end

-- What a lane's limits are: {[kind] = {limit, used}}.
local read = {}
local function limits_of(lane)
  if read[lane] then return read[lane] end
  local limits, found = read_limits(lane), {}
  for _, bucket in ipairs(limits.buckets) do
    found[bucket.kind] = {bucket.limit, math.max(0, bucket.full - now) / bucket.interval}
  end
  if limits.day_limit then found.requests_day = {limits.day_limit, tonumber(limits.state['day.used'])} end
  if limits.concurrency then
    found.concurrency = {limits.concurrency, tonumber(call('HGET', key('lane', lane), 'inflight') or '0')}
  end
  read[lane] = found
  return found
end

local busy = {}
for _, lane in ipairs(call('ZRANGE', LANES, 0, MOST_LANES - 1)) do
  local account = account_of(lane)
  busy[account] = busy[account] or {}
  table.insert(busy[account], lane)
end

local function fullest(connection)
  local own, worst, told = lane_of_fallback(connection, ''), {}, {}
  local function look(lane)
    for kind, found in pairs(limits_of(lane)) do
      local other = worst[kind]
      if not other or found[2] * other[1] > other[2] * found[1] then worst[kind] = found end
    end
  end
  look(own)
  for _, lane in ipairs(busy[account_of(own)] or {}) do look(lane) end
  for kind, found in pairs(worst) do
    for _, part in ipairs({kind, milliseconds(found[1]), milliseconds(found[2])}) do told[#told + 1] = part end
  end
  return told
end

local reply = {totals, times}
for _, connection in ipairs(ARGV) do
  local k, n = key('connection', connection), #reply
  local paused = call('HMGET', k, 'paused_ms', 'paused_at')
  reply[n + 1], reply[n + 2] = numbers(k, FINAL), int(tonumber(paused[1] or '0') + now - tonumber(paused[2] or int(now)))
  reply[n + 3], reply[n + 4] = call('HGETALL', key('metrics', connection)), fullest(connection)
end
return reply
