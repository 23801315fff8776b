
-- Admission: who goes now.

-- Fails the first job of a flow, which asks for more than its lane may ever have.
local function finish_too_large(flow, id, need, limit)
  local job = load(id)
  unplace(job)
  finish(job, 'failed', error_fragment('request_too_large', 'The job needs about ' .. int(need)
    .. ' tokens at once; its limit is ' .. int(limit) .. ' tokens a minute.',
    'Shorten the prompt or lower max_tokens, or raise tokens_per_minute if the provider allows more.'))
end

-- What the first job of a line asks of the lane's allowances. Second, when it is more than a minute's: how much it asks,
-- and the limit. Sizes are estimates, so only what is certain counts there: the cap at the door, and half of the prompt.
local function need_within(limits, facts, door)
  local cap = tonumber(facts[4] or '0')
  local need = need_of(limits, tonumber(facts[3] or '0'), cap, door)
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

-- Admits up to `max` jobs of a lane. Each gets a worker, a claim and a token, and what it asks of the lane's allowances.
-- Returns the admitted as a flat list of (id, connection, token, worker), then why no more may go now, and the ms until a
-- try is worth it.
-- Start-time fair queueing: the flow with the lowest tag goes first, and is charged cost/weight.
local function admit(lane, max, nonce, admitted)
  local k, flows = key('lane', lane), key('flows', lane)
  local function read() return call('HMGET', k, 'clock', 'inflight', 'cool', 'why', 'window', 'probes', 'ramp', 'out') end
  local state = read()
  local cool = tonumber(state[3] or '0')
  if cool > now then
    call('ZADD', LANES, 'XX', int(cool), lane)
    call('ZREM', HUNGRY, lane)
    return state[4] == 'breaker' and 'breaker' or 'cooling', cool - now
  end
  if state[8] then
    review(lane)
    state = read()
  end
  local clock, inflight = tonumber(state[1] or '0'), tonumber(state[2] or '0')
  local window, probes = tonumber(state[5] or nil), tonumber(state[6] or '0')
  local limits = read_limits(lane)
  local limited = are_limited(limits)
  local diverted = call('EXISTS', DIVERTED) == 1
  local doors = {}
  local reason, wait = nil, RECHECK_MS
  local taken, refused = 0, 0
  local left = 0    -- room of the worker that got the last job
  local behind = 0  -- workers that have more room than the next, and have not begun what they were given
  while true do
    local first = call('ZRANGE', flows, 0, 0, 'WITHSCORES')
    if not first[1] then reason = 'empty' break end
    if limits.concurrency and inflight >= limits.concurrency then reason = 'concurrency' break end
    if window and probes >= window then reason = 'ramp' break end
    if taken + refused >= max and (left > 0 or refused > 0) then reason, wait = 'more', 0 break end
    local roomy, claims
    while true do
      roomy = call('ZREVRANGE', ROOM, behind, behind, 'WITHSCORES')
      if not roomy[1] then break end
      claims = key('claims', roomy[1])
      if call('ZCARD', claims) < CLAIMS_PER_WORKER then break end
      behind = behind + 1
    end
    local full = not roomy[1] or (tonumber(roomy[2]) <= 0 and inflight >= BEYOND_SLOTS)
    if full and behind > 0 then reason, wait = 'claims', BEGIN_RECHECK_MS break end
    if full then reason = roomy[1] and 'slots' or 'no_worker' break end
    local flow = first[1]
    local line = key(LINES, flow)
    local id = call('ZRANGE', line, 0, 0)[1]
    local k_job = key('job', id)
    local facts = call('HMGET', k_job, 'cost', 'connection', 'size', 'cap')
    local server = diverted and call('HGET', DIVERTED, flow) or nil
    local reserved, too_large, limit = nil, nil, nil
    if limited then
      local name = server or facts[2]
      if doors[name] == nil then doors[name] = call('HEXISTS', RULES, 'door:' .. name) == 1 end
      reserved, too_large, limit = need_within(limits, facts, doors[name])
      if not too_large then
        wait, reason = wait_for(limits, reserved)
        if wait > 0 then
          wait = math.ceil(wait)
          break
        end
        wait = RECHECK_MS
      end
    end
    -- Asked only now, so that a lane that took its turn and lacks a slot for the next is known to lack it.
    if taken + refused >= max then reason, wait = 'more', 0 break end
    if too_large then
      finish_too_large(flow, id, too_large, limit)
      refused = refused + 1
    else
      call('ZREM', line, id)
      clock = math.max(clock, tonumber(first[2]))
      if call('EXISTS', line) == 0 then
        call('ZREM', flows, flow)
        if server then call('HDEL', DIVERTED, flow) end
      else
        local weight = WEIGHT_STEP ^ (tonumber(string.sub(flow, 1, 1)) - 5)
        call('ZADD', flows, int(clock + math.max(1, tonumber(facts[1]) / weight)), flow)
      end
      local token = int(call('INCR', P .. ':fence')) .. '-' .. nonce
      local fields = {'place', 'claim', 'token', token, 'worker', roomy[1], 'lane', lane}
      local function set(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
      if server then set('via', server) end
      if limited then
        take(limits, reserved)
        set('reserved', int(reserved.input_tokens) .. ':' .. int(reserved.tokens - reserved.input_tokens))
      end
      if window then
        set('probe', state[7])
        probes = probes + 1
      end
      call('HSET', k_job, unpack(fields))
      call('ZADD', claims, int(now + CLAIM_MS), id)
      left = tonumber(call('ZINCRBY', ROOM, -1, roomy[1]))
      inflight, taken = inflight + 1, taken + 1
      local n = #admitted
      admitted[n + 1], admitted[n + 2], admitted[n + 3], admitted[n + 4] = id, server or facts[2], token, roomy[1]
    end
  end
  if taken > 0 then
    call('HSET', k, 'clock', int(clock), 'inflight', int(inflight))
    if limited then save_limits(limits) end
    if window then
      call('HSET', k, 'probes', int(probes))
      review(lane)
    end
  end
  if reason == 'empty' then
    tidy_lane(lane)
    return reason, wait
  end
  call('ZADD', LANES, 'XX', int(now + wait), lane)
  -- Lanes that only lack a slot take turns at the slots that become free.
  if reason ~= 'slots' then
    call('ZREM', HUNGRY, lane)
  elseif not call('ZSCORE', HUNGRY, lane) then
    call('ZADD', HUNGRY, number_in_line(1), lane)
  end
  return reason, wait
end
