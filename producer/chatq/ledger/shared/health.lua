
-- What calls tell of their lane and their connection: breaker, cool-down, ramp, pause.
--
-- In the lane's hash, beside `clock` and `inflight`:
--   cool, why    nothing goes before this moment, and for what: 'limited' or 'breaker'
--   blocked      ms of cool-downs so far: time that no job is charged with
--   oks, took    answers that were a success, and the ms that their calls took, the last ones counting most
--   fails, failed, kept   failures of the provider since the last success, the jobs that lost an attempt to them, and
--                until when they are remembered
--   opened, tries         when the breaker opened, and its probes that failed since
--   window, probes, ramp  after a breaker or a pause: how many calls may be in flight, twice as many after each that was
--                answered; how many are; and which such time it is: calls of earlier ones are none of these
--   out          '1': others serve its jobs, where there are fallbacks
-- In the connection's hash: works ('1': a call succeeded since the settings changed), misses (404s in a row before that),
-- resumed, proven (the moments of the last resume, and of the last one that a check's proof brought), paused_at,
-- paused_ms (of pauses that are over).

local BREAK_AFTER = 5                                -- failures in a row
local FIRST_PROBE_MS, LAST_PROBE_MS = 1000, 30000    -- between probes, twice as long after each that failed
local REMEMBERED_MS = 120000
local MISSES = 5
local FULL_WINDOW = 1024

-- The connection that makes a job's call: its own, or the fallback that stands in.
local function server_for(job) return job.via or job.connection end

local function cool_down(lane, until_, why)
  local k = key('lane', lane)
  local before = math.max(tonumber(call('HGET', k, 'cool') or '0'), now)
  if until_ <= before then return end
  call('HSET', k, 'cool', int(until_), 'why', why)
  call('HINCRBY', k, 'blocked', int(until_ - before))
  tidy_lane(lane)
end

-- How a lane is: {cool = the ms until which its provider asked to wait, breaker = 'closed' | 'open' | 'half_open' (the time
-- for a probe has come), probe = the ms of an open one's next probe}; 0: none.
local function condition_of(lane)
  local state = call('HMGET', key('lane', lane), 'cool', 'why', 'opened')
  local cool = tonumber(state[1] or '0')
  local cools = cool > now
  local open = cools and (state[2] == 'breaker' or state[3] ~= false)
  return {cool = cools and state[2] ~= 'breaker' and cool or 0, probe = open and cool or 0,
    breaker = open and 'open' or not cools and state[3] and 'half_open' or 'closed'}
end

-- Lets calls of a lane set in one by one.
local function ramp_up(lane)
  local k = key('lane', lane)
  call('HINCRBY', k, 'ramp', 1)
  call('HSET', k, 'window', '1', 'probes', '0')
  review(lane)
end

-- How long the lane of a job's own connection has cooled down so far, and the connection or the batch was paused: of the time since
-- its first call, the job is not charged with what came on top meanwhile.
local function blocked_ms(job)
  local _, connection, model = flow_parts(job.flow)
  local paused = call('HMGET', key('connection', connection), 'paused_ms', 'paused_at')
  local blocked = call('HGET', key('lane', lane_of(connection, model)), 'blocked')
  local batch_paused = job.batch and call('HGET', key('batch', job.batch), 'paused_ms') or '0'
  return tonumber(blocked or '0') + tonumber(paused[1] or '0') + now - tonumber(paused[2] or int(now))
    + tonumber(batch_paused)
end

-- Pauses a connection. `reason`: JSON members code, message and remedy. An operator's pause stays an operator's.
local function pause(connection, reason, by_operator)
  local k = key('connection', connection)
  if call('HEXISTS', PAUSED, connection) == 0 then
    call('HSET', k, 'paused_at', int(now))
  elseif not by_operator then
    return false
  end
  local since = json_moment(call('HGET', k, 'paused_at'))
  call('HSET', k, 'paused_by', by_operator and 'operator' or 'failure')
  call('HSET', PAUSED, connection, '{' .. reason .. ',"since":' .. since .. '}')
  move_flows(all_flows())
  return true
end

-- Ends a pause; the calls of the connection then set in one by one. `proof`: a check showed that the cause is gone.
local function resume(connection, proof)
  local k = key('connection', connection)
  if call('HEXISTS', PAUSED, connection) == 0 then return false end
  if proof and call('HGET', k, 'paused_by') == 'operator' then return false end
  call('HDEL', PAUSED, connection)
  call('HINCRBY', k, 'paused_ms', int(now - tonumber(call('HGET', k, 'paused_at'))))
  call('HDEL', k, 'paused_at', 'paused_by', 'misses')
  call('HSET', k, 'resumed', int(now))
  if proof then call('HSET', k, 'proven', int(now)) end
  local flows = all_flows()
  move_flows(flows)
  for _, flow in ipairs(flows) do
    local _, name, model = flow_parts(flow)
    if name == connection and lane_now(flow) then ramp_up(lane_of(name, model)) end
  end
  return true
end

-- The provider answered, and be it with a refusal: it is there.
local function note_alive(lane, state)
  if state.fails then call('HDEL', key('lane', lane), 'fails', 'failed', 'opened', 'tries', 'kept') end
end

-- It answered as one that serves this account.
local function note_served(lane, state)
  note_alive(lane, state)
  if not state.window then return end
  local k, window = key('lane', lane), tonumber(state.window) * 2
  if window > FULL_WINDOW then call('HDEL', k, 'window', 'probes') else call('HSET', k, 'window', int(window)) end
  review(lane)
end

local function note_success(job, lane, state)
  local took = now - tonumber(job.begun)
  if state.took then took = (7 * tonumber(state.took) + took) / 8 end
  call('HSET', key('lane', lane), 'oks', int(tonumber(state.oks or '0') + 1), 'took', int(took))
  note_served(lane, state)
  local connection = key('connection', server_for(job))
  if call('HSETNX', connection, 'works', '1') == 1 then call('HDEL', connection, 'misses') end
end

-- The provider failed. Whether the attempt is the job's loss: while others fail or wait, a job loses no second one to
-- the same trouble, and none as a breaker's probe; it then goes behind, for another may get through. A job that is alone
-- in its lane cannot be told from the trouble, and goes by its own policy.
local function note_failure(job, lane, state) -- seldom
  local k = key('lane', lane)
  local oks, failed = state.oks or '0', tonumber(state.failed or '0')
  local fails = tonumber(state.fails or '0') + 1
  local first = job.streak ~= oks
  local others = failed >= 2 or call('EXISTS', key('flows', lane)) == 1 or tonumber(state.inflight) > 1
  if first then
    failed = failed + 1
    call('HSET', key('job', job.id), 'streak', oks)
  end
  call('HSET', k, 'fails', int(fails), 'failed', int(failed), 'kept', int(now + REMEMBERED_MS))
  local opened = state.opened and tonumber(state.opened)
  local probe = opened and tonumber(job.begun) >= opened
  if probe or (fails >= BREAK_AFTER and not opened) then
    local tries = probe and tonumber(state.tries) + 1 or 0
    if not probe then call('HSET', k, 'opened', int(now)) end
    call('HSET', k, 'tries', int(tries))
    cool_down(lane, now + math.min(LAST_PROBE_MS, FIRST_PROBE_MS * 2 ^ tries), 'breaker')
    ramp_up(lane)
  end
  return (first and not probe) or not others, true
end

-- The provider refused for a limit. Whether it is the job's loss: the second time in a row, while others got through.
-- When nobody did, it goes behind, for another may.
local function note_limited(job, lane, state, cool_ms) -- seldom
  local oks = tonumber(state.oks or '0')
  local before = job.limited and tonumber(job.limited)
  call('HSET', key('job', job.id), 'limited', int(oks))
  local cool = now + cool_ms
  slow_down(lane, tonumber(job.begun), cool)
  cool_down(lane, cool, 'limited')
  review(lane)
  return before and oks > before, before == oks
end

-- The provider refused the account. The connection pauses, and jobs wait; unless a check has proven the account since
-- this very job was refused before: then it is the job that is refused.
local function note_refused(job, reason) -- seldom
  local server = server_for(job)
  local c = call('HMGET', key('connection', server), 'resumed', 'proven')
  if c[2] and job.refused and tonumber(c[2]) > tonumber(job.refused) then return true end
  call('HSET', key('job', job.id), 'refused', int(now))
  -- What had begun before the connection was resumed says nothing about it now.
  if tonumber(job.begun) >= tonumber(c[1] or '0') then pause(server, reason, false) end
  return false
end

-- The provider knows no such thing (404): the job's loss, unless nothing has ever worked here, and this is one of many.
local function note_missing(job, reason) -- seldom
  local server = server_for(job)
  local k = key('connection', server)
  local c = call('HMGET', k, 'works', 'resumed')
  if c[1] then return true end
  if tonumber(job.begun) < tonumber(c[2] or '0') then return false end
  if call('HINCRBY', k, 'misses', 1) < MISSES then return true end
  pause(server, reason, false)
  return false
end

-- What a call that ended tells. `outcome`: 'ok', 'limited', 'transient', 'account', 'missing', 'request', 'astray' (its worker could
-- not run it), or empty when it tells nothing. Returns whether the attempt is the job's own: if not, the job waits again as if it had not been tried;
-- then, whether it goes behind the others of its flow.
local function note_outcome(job, outcome, cool_ms, reason)
  if outcome == '' or outcome == 'astray' then return true end
  local lane = job.lane
  local values = call('HMGET', key('lane', lane), 'oks', 'fails', 'failed', 'opened', 'tries', 'window', 'inflight',
    'took')
  local state = {oks = values[1] or nil, fails = values[2] or nil, failed = values[3] or nil, opened = values[4] or nil,
    tries = values[5] or nil, window = values[6] or nil, inflight = values[7] or nil, took = values[8] or nil}
  if outcome == 'ok' then
    note_success(job, lane, state)
    return true
  end
  if outcome == 'transient' then return note_failure(job, lane, state) end
  if outcome == 'request' then
    note_served(lane, state)
    return true
  end
  note_alive(lane, state)
  if outcome == 'limited' then return note_limited(job, lane, state, cool_ms) end
  if outcome == 'account' then return note_refused(job, reason) end
  return note_missing(job, reason)
end
