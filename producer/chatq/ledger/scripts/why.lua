-- Why a job does not run, what stands before it, and when it may go. Changes nothing.
--
-- ARGV[1]  job id
-- Returns false when there is no such job, else a flat list of names and values. Of a final job: record (JSON). Else
--   connection, model, state, made (attempts), workers (alive), reason:
--     'running', 'starting' (given to a worker), 'stalled' (given to one that comes to none of its messages),
--     'cancelled' (the sweep of its batch has not come by),
--     'paused', 'batch_paused', 'batch_moving', 'removed' (its connection, from the settings), 'budget' (spent, or reserved by
--     calls under way), 'price' (not told yet),
--     'not_before', 'retry', 'due' (it goes at the next admission), 'line' (others go first), or
--     what stands in the way of its lane's next job: see `in_the_way`
-- and where it applies:
--   worker, since (ms: begun), stopping ('1'), until (ms: when the reason ends), expires (ms), batch
--   pause (JSON: why its own connection is paused), server (the fallback that stands in)
--   limit, limit_from ('set', 'learned', 'found'), inflight
--   budget ('per_day_usd', 'max_cost', 'max_tokens'), its limit and what it needs (in billionths of a dollar, or tokens)
--   own_jobs, own_tokens, other_jobs, other_tokens   what goes before it: of its flow, of the lane's other flows
--   starts (ms: when it will start), took (ms: what calls take, where that decides too), else no_estimate: why that
--   cannot be said
-- A line may have a million jobs: what is before it is counted by rank, and weighed by a sample.
-- Atomic, so that reason, place and estimate are of one moment.

local SAMPLE, MOST_FLOWS = 8, 100

local reply = {}
local function tell(name, value)
  if value then reply[#reply + 1], reply[#reply + 2] = name, type(value) == 'number' and int(value) or value end
end

local job = load(ARGV[1])
if not job then return false end

-- What the first `jobs` of a flow ask on average. nil: it has none.
local function mean_of(lane, flow, server, jobs)
  local line = key(LINES, flow)
  local sum, seen = {cost = 0}, 0
  for i = 0, math.min(SAMPLE, jobs) - 1 do
    local id = call('ZRANGE', line, int(math.floor(i * jobs / SAMPLE)), int(math.floor(i * jobs / SAMPLE)))[1]
    local first = id and load(id)
    if first then
      seen = seen + 1
      sum.cost = sum.cost + tonumber(first.cost)
      for kind, cost in pairs(lane.limited and need_in_lane(lane, first, server) or {}) do
        sum[kind] = (sum[kind] or 0) + cost
      end
    end
  end
  if seen == 0 then return nil end
  for kind, total in pairs(sum) do sum[kind] = total / seen end
  return sum
end

-- What goes before the job: {own_jobs, own_tokens, other_jobs, other_tokens, needs = of each allowance}.
local function before(lane, server)
  local ahead = {own_jobs = 0, own_tokens = 0, other_jobs = 0, other_tokens = 0, needs = {}}
  local function add(whose, jobs, mean)
    ahead[whose .. '_jobs'] = ahead[whose .. '_jobs'] + jobs
    ahead[whose .. '_tokens'] = ahead[whose .. '_tokens'] + jobs * mean.cost
    for _, bucket in ipairs(lane.limits.buckets) do
      ahead.needs[bucket.kind] = (ahead.needs[bucket.kind] or 0) + jobs * mean[bucket.kind]
    end
  end
  local rank = call('ZCOUNT', key(LINES, job.flow), '-inf', '(' .. job.seq)
  local mean = mean_of(lane, job.flow, server, rank)
  if mean then add('own', rank, mean) end
  -- Its flow's tag when its turn comes: flows with lower tags go first, as often as they stay lower.
  local tag = math.max(lane.clock, tonumber(call('ZSCORE', lane.flows, job.flow) or '0'))
    + ahead.own_tokens / weight_of(job.flow)
  local flows = call('ZRANGEBYSCORE', lane.flows, '-inf', int(tag), 'WITHSCORES', 'LIMIT', 0, MOST_FLOWS)
  local scale = #flows < 2 * MOST_FLOWS and 1 or call('ZCOUNT', lane.flows, '-inf', int(tag)) / MOST_FLOWS
  for i = 1, #flows, 2 do
    local flow = flows[i]
    if flow ~= job.flow then
      local waiting = call('ZCARD', key(LINES, flow))
      mean = mean_of(lane, flow, lane.diverted and call('HGET', DIVERTED, flow) or nil, waiting)
      if mean then
        local turns = (tag - tonumber(flows[i + 1])) * weight_of(flow) / math.max(1, mean.cost)
        turns = math.ceil(turns) + ((turns == math.ceil(turns) and flow < job.flow) and 1 or 0)
        add('other', math.min(waiting, turns) * scale, mean)
      end
    end
  end
  return ahead
end

-- The moment until which limits hold the job back, and which; nil when the lane has none.
local function held_until(lane, ahead, need)
  local at, by = nil, nil
  for _, bucket in ipairs(lane.limits.buckets) do
    local then_ = {full = math.max(bucket.full, now) + (ahead.needs[bucket.kind] or 0) * bucket.interval,
      burst = bucket.burst, interval = bucket.interval}
    local moment = now + wait_of(then_, 'full', need[bucket.kind])
    if not at or moment > at then at, by = moment, bucket.kind end
  end
  local a_day = lane.limits.day_limit
  if a_day and a_day > 0 then
    local over = ahead.own_jobs + ahead.other_jobs + 1 - (a_day - tonumber(lane.limits.state['day.used']))
    local moment = over > 0 and (math.floor(now / DAY_MS) + math.ceil(over / a_day)) * DAY_MS or now
    if not at or moment > at then at, by = moment, 'requests_day' end
  end
  return at, by
end

local TIMED = {cooling = true, breaker = true, requests = true, tokens = true, input_tokens = true, output_tokens = true,
  requests_day = true}
-- These end when somebody does something, or nobody knows when.
local NOBODY_KNOWS = {ramp = true, no_worker = true, suspects = true, version = true, budget = true, price = true}

-- How many calls of a lane may be in flight at once, if other lanes' calls go on as they are.
local function width_of(lane)
  local free = call('ZRANGEBYSCORE', lane.workers, '(0', '+inf', 'WITHSCORES')
  local width = lane.inflight
  for i = 2, #free, 2 do width = width + tonumber(free[i]) end
  return math.min(math.max(width, BEYOND_SLOTS), lane.limits.concurrency or math.huge)
end

-- Says where the job stands in a lane, and when it will go.
local function tell_place(name, server, earliest)
  local lane = read_lane(name, math.huge)
  local reason, wait, next_job = in_the_way(lane)
  local need = lane.limited and need_in_lane(lane, job, server) or {}
  local ahead = before(lane, server)
  local jobs = ahead.own_jobs + ahead.other_jobs
  if not earliest then
    -- Others of its lane may go while its own flow stands aside.
    local why, budget = stands_aside(lane, job.flow)
    if reason ~= 'no_worker' and (why == 'version' or why == 'budget' or (why and not reason)) then
      reason = why
      if budget then
        tell('budget', budget.name)
        tell('limit', budget.limit)
      end
    elseif not reason and live_workers() == 0 then
      reason = 'no_worker'
    elseif not reason then
      reason = next_job.job.id == job.id and 'due' or 'line'
    end
    tell('reason', reason)
    if TIMED[reason] then tell('until', now + wait) end
    local bucket = bucket_of(lane.limits, reason)
    if bucket then
      local stated = rule(reason .. '_per_minute:' .. account_of(name)) ~= false
      tell('limit', milliseconds(bucket.limit))
      tell('limit_from', stated and 'set' or reason == 'requests' and lane.limits.tried and 'found' or 'learned')
    elseif reason == 'requests_day' then
      tell('limit', lane.limits.day_limit)
      tell('limit_from', rule('requests_per_day:' .. account_of(name)) ~= false and 'set' or 'learned')
    elseif reason == 'concurrency' then
      tell('limit', lane.limits.concurrency)
    elseif reason == 'ramp' then
      tell('limit', lane.window)
    end
  end
  tell('inflight', lane.inflight)
  for _, what in ipairs({'own_jobs', 'own_tokens', 'other_jobs', 'other_tokens'}) do tell(what, math.ceil(ahead[what])) end
  local at, by = held_until(lane, ahead, need)
  local doubt = NOBODY_KNOWS[reason] and reason or reason == 'breaker' and jobs > 0 and 'breaker'
  -- Each call that ends lets the next go: as many must end as are before it beyond what has room.
  local width = width_of(lane)
  local must_end = lane.inflight + jobs + 1 - width
  local took = tonumber(call('HGET', key('lane', name), 'took') or nil)
  if must_end <= 0 then took = nil end
  if not doubt and must_end > 0 and not took then doubt = 'calls' end
  if doubt then return tell('no_estimate', doubt) end
  local by_calls = took and now + must_end * took / width or 0
  if by_calls > (at or 0) then tell('took', took) end
  tell('starts', math.ceil(math.max(now, at or 0, by_calls, lane.cool, earliest or 0)))
end

local function tell_waiting()
  if is_cancelled(job) then return tell('reason', 'cancelled') end
  local later = job.place == 'later' and tonumber(call('ZSCORE', LATER, job.id))
  local lane, server = (later and lane_for or lane_now)(job.flow)
  if not lane then
    local b = job.batch and call('HMGET', key('batch', job.batch), 'paused', 'moving', 'used_up', 'needs', 'max_cost',
      'max_tokens') or {}
    local goes_on = call('ZSCORE', SPENT, job.connection)
    local reason = b[1] and 'batch_paused' or b[2] and 'batch_moving' or not is_configured(job.connection) and 'removed'
      or call('HEXISTS', PAUSED, job.connection) == 0 and goes_on and 'budget' or 'paused'
    tell('reason', reason)
    if reason == 'budget' then
      tell('until', goes_on)
      tell('budget', 'per_day_usd')
      tell('limit', rule('budget:' .. job.connection) or nil)
    elseif b[3] then
      tell('budget', b[3] == 'cost' and 'max_cost' or 'max_tokens')
      tell('limit', b[3] == 'cost' and b[5] or b[6])
      tell('needs', b[4])
    end
    return tell('no_estimate', reason)
  end
  if server == job.connection then server = nil end
  tell('server', server)
  if later then
    tell('reason', tonumber(job.made or '0') > 0 and 'retry' or 'not_before')
    tell('until', later)
  end
  tell_place(lane, server, later)
end

if job.place == 'end' then return {'record', call('GET', key('result', job.id))} end
tell('connection', job.connection)
tell('model', job.model)
tell('state', job.state)
tell('made', tonumber(job.made or '0'))
tell('workers', live_workers())
tell('batch', job.batch)
tell('expires', job.expires)
tell('pause', call('HGET', PAUSED, job.connection))
if job.place == 'held' or job.place == 'claim' then
  local stalled = job.place == 'claim' and call('HEXISTS', key('worker', job.worker), 'stalled') == 1
  tell('reason', job.place == 'held' and 'running' or stalled and 'stalled' or 'starting')
  tell('worker', job.worker)
  tell('since', job.begun)
  tell('stopping', job.cancel)
  tell('server', job.via)
else
  tell_waiting()
end
return reply
