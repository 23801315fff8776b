
-- Admission: who goes now.

-- The share of a flow's turns: one step of priority is WEIGHT_STEP more.
local function weight_of(flow) return WEIGHT_STEP ^ (tonumber(string.sub(flow, 1, 1)) - 5) end

-- Fails a job in line that can never go. `refusal`: as `error_fragment` takes it.
local function refuse(id, refusal) -- seldom
  local job = load(id)
  unplace(job)
  finish(job, 'failed', error_fragment(unpack(refusal)))
end

-- What the first job of a line asks of the lane's allowances. Second, when it is more than a minute's: how much it asks,
-- and the limit. Sizes are estimates, so only what is certain counts there: the cap at the door, and half of the prompt.
local function need_within(limits, job, door)
  local cap = tonumber(job.cap or '0')
  local need = need_of(limits, tonumber(job.size or '0'), cap, door)
  for _, bucket in ipairs(limits.buckets) do
    local cost = need[bucket.kind]
    if cost > bucket.limit and bucket.kind ~= 'requests' then
      local certain = (bucket.kind ~= 'output_tokens' and need.input_tokens / 2 or 0)
        + (bucket.kind ~= 'input_tokens' and door and cap or 0)
      if certain > bucket.limit then return need, cost, bucket.limit end
      need[bucket.kind] = math.max(1, math.floor(bucket.limit))
    end
  end
  return need
end

-- A lane as admission finds it, limits included. `workers`: the sorted set of those to choose from, by room. `admit` counts
-- on in it as jobs go: `taken` and `refused`, up to `most`; `room`: what the worker that got the last job has left;
-- `behind`: workers that have more room than the next, and have not begun what they were given, or (`closed` of them) are
-- closed; `aside`: flows that wait for a worker that may take them, or for a budget, and `aside_why` the first; `empty`: the
-- worker that one of them waits for to have to itself; `wants`: the price that another waits for; `reserves`: whether what went
-- is reserved.
local function read_lane(name, most)
  local state = call('HMGET', key('lane', name), 'clock', 'inflight', 'cool', 'why', 'window', 'probes', 'ramp', 'out')
  local limits = read_limits(name)
  return {name = name, flows = key('flows', name), clock = tonumber(state[1] or '0'), inflight = tonumber(state[2] or '0'),
    workers = call('EXISTS', ROOM) == 1 and ROOM or STALLED, cool = tonumber(state[3] or '0'), why = state[4] or nil,
    window = tonumber(state[5] or nil), probes = tonumber(state[6] or '0'), ramp = state[7] or nil, out = state[8] or nil,
    limits = limits, limited = are_limited(limits), budgeted = limits.budgeted or call('EXISTS', BUDGETED) == 1,
    diverted = call('EXISTS', DIVERTED) == 1, most = most, taken = 0, refused = 0, room = 0, behind = 0, closed = 0, aside = 0}
end

-- What a job asks of the lane's allowances, as `need_within`.
local function need_in_lane(lane, job, server)
  return need_within(lane.limits, job, rule('door:' .. (server or job.connection)) ~= false)
end

-- The format of jobs that a worker knows, how much suspicion it has, whether it takes no other job now (it has one that is
-- to be apart, or is being emptied for one), and how many messages may be under way to it.
local function state_of(worker)
  local w = call('HMGET', key('worker', worker), 'format', 'suspects', 'closed', 'window')
  local suspects = tonumber(w[2] or '0')
  return tonumber(w[1] or '1'), suspects, suspects > SUSPECTS_PER_WORKER or tonumber(w[3] or '0') > now,
    tonumber(w[4] or CLAIMS_PER_WORKER)
end

-- The worker that the first job of a flow may go to: of those that know its format, and may take one more suspect of its
-- weight, the one with most room; false when any will do. nil when none may take it now; second then why.
-- For one that is to be apart when none is empty it names, in `lane.empty`, the one to be emptied: one that is already, for
-- another is not closed on top of it; else that with most room.
local function worker_for(lane, flow)
  local format = tonumber(string.match(flow, SEPARATOR .. 'format:(%d+)') or '1')
  local lost = string.sub(flow, -5) == SEPARATOR .. 'lost'
  if format == 1 and not lost then return false end
  local weight = 0
  if lost then weight = suspicion_of(call('HGET', key('job', call('ZRANGE', key(LINES, flow), 0, 0)[1]), 'losses')) end
  local workers, knows, roomiest, closing = call('ZREVRANGE', lane.workers, 0, -1, 'WITHSCORES'), false, nil, nil
  for i = 1, #workers, 2 do
    local worker = workers[i]
    local known, suspects, closed = state_of(worker)
    if known >= format then
      knows = true
      if weight > SUSPECTS_PER_WORKER then
        if call('EXISTS', key('held', worker), key('claims', worker)) == 0 then return worker end
        roomiest, closing = roomiest or worker, closing or closed and worker or nil
      else
        if tonumber(workers[i + 1]) <= 0 and lane.inflight >= BEYOND_SLOTS then break end
        if not closed and worker ~= lane.empty and suspects + weight <= SUSPECTS_PER_WORKER then return worker end
      end
    end
  end
  lane.empty = lane.empty or closing or roomiest
  return nil, not knows and 'version' or weight > 0 and 'suspects' or 'slots'
end

local function server_in(lane, flow) return lane.diverted and call('HGET', DIVERTED, flow) or nil end

-- Whether the first job of a flow may go while others of its lane do: nil, or why not, and the budget that it waits for. Then
-- its worker if not any will do, and its charge.
local function stands_aside(lane, flow)
  local worker, why = worker_for(lane, flow)
  if worker == nil then return why end
  if not lane.budgeted then return nil, nil, worker end
  local charge = charge_of(lane.limits, flow, server_in(lane, flow))
  if charge and charge.waits then
    lane.wants = lane.wants or charge.wants
    return charge.waits, charge.by
  end
  return nil, nil, worker, charge
end

-- The first flow whose first job may go to some worker, with its tag, the worker if not any will do, and the charge of its
-- budgets. A flow that must wait for one stands aside.
local function next_flow(lane)
  while true do
    local first = call('ZRANGE', lane.flows, lane.aside, lane.aside, 'WITHSCORES')
    if not first[1] then return first end
    local why, _, worker, charge = stands_aside(lane, first[1])
    if not why then return first, worker, charge end
    lane.aside, lane.aside_why = lane.aside + 1, lane.aside_why or why
  end
end

-- A worker for a job that one handed on: each that has room in turn. nil: none has.
local function worker_in_turn(lane) -- seldom
  local workers = call('ZRANGEBYSCORE', lane.workers, '(0', '+inf')
  return workers[1 + tonumber(call('GET', P .. ':fence') or '0') % math.max(1, #workers)]
end

-- What stands in the way of a lane's next job: why, and the ms until a try is worth it. nil when nothing does; third then
-- how it goes: {job, tag, line, server, worker, suspicion, reserved, charge, refusal}.
-- The one place that says so: for `admit`, which lets jobs go, and for those who ask why one does not. It writes nothing.
local function in_the_way(lane)
  if lane.cool > now then return lane.why == 'breaker' and 'breaker' or 'cooling', lane.cool - now end
  local first, worker, charge = next_flow(lane)
  if not first[1] then
    return lane.aside == 0 and 'empty' or call('EXISTS', lane.workers) == 1 and lane.aside_why or 'no_worker', RECHECK_MS
  end
  local concurrency = lane.limits.concurrency
  if concurrency and lane.inflight >= concurrency then return 'concurrency', RECHECK_MS end
  if lane.window and lane.probes >= lane.window then return 'ramp', RECHECK_MS end
  local enough = lane.taken + lane.refused >= lane.most
  if enough and (lane.room > 0 or lane.refused > 0) then return 'more', 0 end
  local roomy
  while true do
    roomy = call('ZREVRANGE', lane.workers, lane.behind, lane.behind, 'WITHSCORES')
    if not roomy[1] then break end
    local _, _, closed, window = state_of(roomy[1])
    closed = not worker and (closed or roomy[1] == lane.empty)
    if not closed and call('ZCARD', key('claims', roomy[1])) < window then break end
    lane.behind, lane.closed = lane.behind + 1, lane.closed + (closed and 1 or 0)
  end
  local full = not roomy[1] or (tonumber(roomy[2]) <= 0 and lane.inflight >= BEYOND_SLOTS)
  if full and lane.behind > lane.closed then return 'claims', BEGIN_RECHECK_MS end
  if full then return (roomy[1] or lane.closed > 0) and 'slots' or 'no_worker', RECHECK_MS end
  local flow = first[1]
  local line = key(LINES, flow)
  local job = load(call('ZRANGE', line, 0, 0)[1])
  local server = server_in(lane, flow)
  local reserved, refusal = nil, charge and charge.refusal
  if (lane.limited or charge) and not (refusal or charge and charge.over) then
    local large, limit
    reserved, large, limit = need_in_lane(lane, job, server)
    if large then
      refusal = {'request_too_large', 'The job needs about ' .. int(large) .. ' tokens at once; its limit is ' .. int(limit)
        .. ' tokens a minute.',
        'Shorten the prompt or lower max_tokens, or raise tokens_per_minute if the provider allows more.'}
    else
      local wait, kind = wait_for(lane.limits, reserved)
      if wait > 0 then return kind, math.ceil(wait) end
    end
  end
  -- Asked only now, so that a lane that took its turn and lacks a slot for the next is known to lack it.
  if enough then return 'more', 0 end
  return nil, RECHECK_MS, {job = job, tag = tonumber(first[2]), line = line, server = server,
    worker = worker or job.astray and worker_in_turn(lane) or roomy[1], suspicion = suspicion_of(job.losses),
    reserved = reserved, charge = charge, refusal = refusal}
end

-- Writes down what went of a lane so far.
local function keep_lane(lane)
  if lane.taken == 0 then return end
  local k = key('lane', lane.name)
  call('HSET', k, 'clock', int(lane.clock), 'inflight', int(lane.inflight))
  if lane.reserves then save_limits(lane.limits) end
  if lane.window then call('HSET', k, 'probes', int(lane.probes)) end
end

local ADMITTED = 7    -- what `admit` names each job with: so many parts

-- Admits up to `max` jobs of a lane. Each gets a worker, a claim and a token, and what it asks of the lane's allowances.
-- Returns the admitted as a flat list of (id, connection that makes the call, token, worker, flow, attempts made so far, and
-- the model if it is not that of the flow, else empty), then why no more may go now, and the ms until a try is worth it.
-- Start-time fair queueing: the flow with the lowest tag goes first, and is charged cost/weight.
local function admit(name, max, nonce, admitted)
  local lane = read_lane(name, max)
  if lane.out and lane.cool <= now then
    review(name)
    lane = read_lane(name, max)
  end
  local reason, wait, going
  while true do
    reason, wait, going = in_the_way(lane)
    if reason then break end
    if going.refusal or going.charge and going.charge.over then
      -- Its flow may have been the last that keeps the lane.
      keep_lane(lane)
      if going.refusal then refuse(going.job.id, going.refusal) else use_up(going.charge) end
      lane.refused, lane.aside, lane.aside_why = lane.refused + 1, 0, nil
    else
      local job, worker = going.job, going.worker
      call('ZREM', going.line, job.id)
      lane.clock = math.max(lane.clock, going.tag)
      if call('EXISTS', going.line) == 0 then
        call('ZREM', lane.flows, job.flow)
        if going.server then call('HDEL', DIVERTED, job.flow) end
      else
        call('ZADD', lane.flows, int(lane.clock + math.max(1, tonumber(job.cost) / weight_of(job.flow))), job.flow)
      end
      local token = int(call('INCR', P .. ':fence')) .. '-' .. nonce
      local fields = {'place', 'claim', 'token', token, 'worker', worker, 'lane', name}
      local function set(field, value) fields[#fields + 1], fields[#fields + 2] = field, value end
      if going.server then set('via', going.server) end
      if job.trace then set('admitted', int(now)) end
      if going.reserved then
        lane.reserves = true
        take(lane.limits, going.reserved)
        set('reserved', int(going.reserved.input_tokens) .. ':' .. int(going.reserved.tokens - going.reserved.input_tokens))
      end
      if going.charge then set('charge', reserve(going.charge)) end
      if lane.window then
        set('probe', lane.ramp)
        lane.probes = lane.probes + 1
      end
      call('HSET', key('job', job.id), unpack(fields))
      call('ZADD', key('claims', worker), int(now + CLAIM_MS), job.id)
      suspect(worker, going.suspicion)
      lane.room = tonumber(call('ZINCRBY', lane.workers, -1, worker))
      lane.inflight, lane.taken = lane.inflight + 1, lane.taken + 1
      local n = #admitted
      admitted[n + 1], admitted[n + 2], admitted[n + 3], admitted[n + 4], admitted[n + 5], admitted[n + 6], admitted[n + 7] =
        job.id, going.server or job.connection, token, worker, job.flow, job.made or '0',
        going.server and rule('model:' .. going.server) or ''
    end
  end
  keep_lane(lane)
  if lane.taken > 0 and lane.window then review(name) end
  if lane.wants then
    call('SADD', WANTED_PRICES, lane.wants)
    call('PEXPIRE', WANTED_PRICES, PRICES_KEPT_MS)
  end
  if lane.empty then call('HSET', key('worker', lane.empty), 'closed', int(now + CLOSED_MS)) end
  if reason == 'empty' then
    tidy_lane(name)
    return reason, wait
  end
  call('ZADD', LANES, 'XX', int(now + wait), name)
  -- Lanes that only lack a slot take turns at the slots that become free.
  if reason ~= 'slots' then
    call('ZREM', HUNGRY, name)
  elseif not call('ZSCORE', HUNGRY, name) then
    call('ZADD', HUNGRY, number_in_line(1), name)
  end
  return reason, wait
end
