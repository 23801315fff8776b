
-- Admission: who goes now.

-- Admits up to `max` jobs of a lane. Each gets a worker, a claim and a token. Returns the admitted as a flat list of
-- (id, connection, token, worker), then why no more may go now, and the ms until a try is worth it.
-- Start-time fair queueing: the flow with the lowest tag goes first, and is charged cost/weight.
local function admit(lane, max, nonce, admitted)
  local k, flows = key('lane', lane), key('flows', lane)
  local state = call('HMGET', k, 'clock', 'inflight', 'cool')
  local clock, inflight = tonumber(state[1] or '0'), tonumber(state[2] or '0')
  local cool = tonumber(state[3] or '0')
  if cool > now then
    call('ZADD', LANES, 'XX', int(cool), lane)
    call('ZREM', HUNGRY, lane)
    return 'cooling', cool - now
  end
  local account = string.sub(lane, 1, 1) == '@' and lane or string.match(lane, '^[^/]*')
  local concurrency = tonumber(call('HGET', RULES, 'concurrency:' .. account) or nil)
  local reason, wait = nil, RECHECK_MS
  local taken = 0
  local left = 0    -- room of the worker that got the last job
  local behind = 0  -- workers that have more room than the next, and have not begun what they were given
  while true do
    local first = call('ZRANGE', flows, 0, 0, 'WITHSCORES')
    if not first[1] then reason = 'empty' break end
    if concurrency and inflight >= concurrency then reason = 'concurrency' break end
    if taken >= max and left > 0 then reason, wait = 'more', 0 break end
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
    -- Asked only now, so that a lane that took its turn and lacks a slot for the next is known to lack it.
    if taken >= max then reason, wait = 'more', 0 break end
    local flow = first[1]
    local line = key(LINES, flow)
    local id = call('ZPOPMIN', line)[1]
    local k_job = key('job', id)
    local facts = call('HMGET', k_job, 'cost', 'connection')
    clock = math.max(clock, tonumber(first[2]))
    if call('EXISTS', line) == 0 then
      call('ZREM', flows, flow)
    else
      local weight = WEIGHT_STEP ^ (tonumber(string.sub(flow, 1, 1)) - 5)
      call('ZADD', flows, int(clock + math.max(1, tonumber(facts[1]) / weight)), flow)
    end
    local token = int(call('INCR', P .. ':fence')) .. '-' .. nonce
    call('HSET', k_job, 'place', 'claim', 'token', token, 'worker', roomy[1], 'lane', lane)
    call('ZADD', claims, int(now + CLAIM_MS), id)
    left = tonumber(call('ZINCRBY', ROOM, -1, roomy[1]))
    inflight, taken = inflight + 1, taken + 1
    local n = #admitted
    admitted[n + 1], admitted[n + 2], admitted[n + 3], admitted[n + 4] = id, facts[2], token, roomy[1]
  end
  if taken > 0 then call('HSET', k, 'clock', int(clock), 'inflight', int(inflight)) end
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
