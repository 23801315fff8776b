-- Shared by every script: concatenated before it when it is loaded.
--
-- KEYS[1]  the key prefix. All other keys are built from it (Redis Cluster is refused at connect).
-- Times are milliseconds since 1970, from Redis; durations are milliseconds; tokens and costs are whole numbers.
-- Lua numbers keep 14 digits when they become strings by themselves, so they are written with int().
-- A run-time error keeps earlier writes, so every script checks before its first write. Scripts that must work
-- while Redis is out of memory begin with a write that frees (release, unplace).
--
-- A job is in exactly one place, named in its hash:
--   line   waiting: in line:<flow>, a sorted set by its number in line
--   later  waiting for a moment: in `later`, a sorted set by that moment
--   claim  given to a worker that has not begun: in claims:<worker>, a sorted set by the end of the claim
--   held   begun by a worker: in held:<worker>, a sorted set by that moment; it goes with the lease of that worker
--   end    final
--
-- A flow is what is served in order: priority, connection, model and (batch | tenant | "single"), in this order,
-- separated by the byte 31. A lane is what a provider counts together.

local P = KEYS[1]
local SEPARATOR = '\31'
local CLAIM_MS = 3000
local CLAIMS_PER_WORKER = 500     -- messages under way to one worker: its Celery queue stays near empty
local BEYOND_SLOTS = 8             -- calls a lane may always have in flight, so that no other can lock it out
local RECHECK_MS = 1000            -- a blocked lane is tried again by the clock, in case an event was lost
local LANES_RECHECK_MS = 20
local BEGIN_RECHECK_MS = 5
local WEIGHT_STEP = 1.3            -- one priority step
local MAX_LOSSES = 5
local ABANDONED_MS = 86400000      -- a batch that nothing came into for so long, and for its `keep`, is sealed

local function call(...) return redis.call(...) end

local function key(kind, name) return P .. ':' .. kind .. ':' .. name end
local LINES, LANES, LATER, DYING = 'line', P .. ':lanes', P .. ':later', P .. ':dying'
local WORKERS, ROOM, EXPIRY, ENDED = P .. ':workers', P .. ':room', P .. ':expiry', P .. ':ended'
local HUNGRY, RULES, TOTALS, KICK = P .. ':hungry', P .. ':rules', P .. ':totals', P .. ':kick'
local SWEEPS, LEADER, OPEN = P .. ':sweeps', P .. ':leader', P .. ':open-batches'

local function int(n) return string.format('%.0f', n) end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Only tests set it: milliseconds to add, or `=` and the moment itself.
local shift = call('GET', P .. ':clock-offset')
if shift then now = tonumber(string.match(shift, '^=(.+)')) or now + tonumber(shift) end

-- RFC 3339 in UTC with milliseconds. Days to a date: Howard Hinnant's civil_from_days.
local function rfc3339(ms)
  local seconds = math.floor(ms / 1000)
  local z = math.floor(seconds / 86400) + 719468
  local rest = seconds % 86400
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ"', year, month, day,
    math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, ms % 1000)
end

local function moment(ms) return ms and rfc3339(tonumber(ms)) or 'null' end

-- The fields of a job's hash that scripts work with; `request` is read only by begin.
local FIELDS = {'state', 'place', 'token', 'worker', 'lane', 'flow', 'seq', 'cost', 'connection', 'created', 'started',
  'begun', 'finished', 'attempts', 'made', 'counted', 'losses', 'batch', 'custom', 'metadata', 'cancel', 'expires',
  'bytes', 'ending', 'idem'}

local function load(id)
  local values = call('HMGET', key('job', id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(FIELDS) do job[name] = values[i] end
  return job
end

-- The record that callers read, as JSON. Fragments of JSON are stored as they came and never decoded here.
local function record(job)
  local parts = {'{"id":"', job.id, '","connection":"', job.connection, '","state":"', job.state, '"'}
  local function add(...) for _, part in ipairs({...}) do parts[#parts + 1] = part end end
  if job.cancel and job.place ~= 'end' then add(',"cancel_requested":true') end
  add(',"attempts":[', job.attempts or '', '],"created_at":', moment(job.created), ',"started_at":', moment(job.started),
    ',"finished_at":', moment(job.finished))
  if job.batch then add(',"batch":"', job.batch, '"') end
  if job.custom then add(',"custom_id":', job.custom) end
  if job.ending and job.ending ~= '' then add(',', job.ending) end
  if not (job.ending and string.find(job.ending, '"warnings":', 1, true) == 1) then add(',"warnings":[]') end
  add(',"metadata":', job.metadata or '{}', '}')
  return table.concat(parts)
end

-- Jobs by state, for the connection and for the batch; `retrying` counts as queued. The sum stays whole.
local function count(job, from, to)
  local connection = key('connection', job.connection)
  call('HINCRBY', connection, from, -1)
  call('HINCRBY', connection, to, 1)
  if not job.batch then return end
  local batch = key('batch', job.batch)
  call('HINCRBY', batch, from, -1)
  call('HINCRBY', batch, to, 1)
end

-- For scripts that must run while Redis is out of memory and cannot begin with a write that really frees:
-- after any write that could, Redis lets a script go on.
local function run_without_memory() call('DEL', P .. ':nothing') end

-- A batch ends when it is sealed and nothing of it waits or runs. Its jobs are purged with it.
local function batch_maybe_ended(batch)
  local k = key('batch', batch)
  local b = call('HMGET', k, 'sealed', 'queued', 'running', 'ended', 'keep')
  if b[1] == '1' and tonumber(b[2]) == 0 and tonumber(b[3]) == 0 and not b[4] then
    call('HSET', k, 'ended', int(now))
    call('ZADD', ENDED, int(now + tonumber(b[5])), 'batch:' .. batch)
    call('PUBLISH', key('batch-done', batch), 'ended')
  end
end

local function lane_of(connection, model)
  local account = call('HGET', RULES, 'account:' .. connection) or connection
  -- An account of the form @scope counts all its models together.
  if string.sub(account, 1, 1) == '@' then return account end
  return account .. '/' .. model
end

local function flow_parts(flow)
  local fields, from = {}, 1
  for _ = 1, 3 do
    local at = string.find(flow, SEPARATOR, from, true)
    fields[#fields + 1] = string.sub(flow, from, at - 1)
    from = at + 1
  end
  return tonumber(fields[1]), fields[2], fields[3], string.sub(flow, from)
end

-- Looks after a lane that may have nothing to do any more: without flows nobody need ask for it, and without
-- flows, calls in flight and a cool-down it is forgotten. (Not by a key's own time to live: a job that came
-- meanwhile would lose the lane's clock, and the count of calls in flight, with it.)
local function tidy_lane(lane)
  if call('EXISTS', key('flows', lane)) == 1 then return end
  call('ZREM', HUNGRY, lane)
  local state = call('HMGET', key('lane', lane), 'inflight', 'cool')
  local cool = tonumber(state[2] or '0')
  if tonumber(state[1] or '0') > 0 then
    call('ZREM', LANES, lane)
  elseif cool > now then
    call('ZADD', LANES, int(cool), lane)
  else
    call('ZREM', LANES, lane)
    call('DEL', key('lane', lane))
  end
end

-- Puts a flow that has jobs among the flows of its lane; one that was empty enters at the lane's clock. Of those that
-- enter at the same moment the highest priority goes first: the tokens between them weigh nothing else.
local function open_flow(flow)
  local priority, connection, model = flow_parts(flow)
  local lane = lane_of(connection, model)
  local clock = call('HGET', key('lane', lane), 'clock') or '0'
  call('ZADD', key('flows', lane), 'NX', int(tonumber(clock) + 9 - priority), flow)
  call('ZADD', LANES, int(now), lane)
  return lane
end

-- The last of `count` new numbers. Jobs wait by them, and lanes for a slot: many of either come within a millisecond.
local function number_in_line(count) return call('INCRBY', P .. ':seq', count) end

local function place_in_line(job)
  call('ZADD', key(LINES, job.flow), job.seq, job.id)
  call('HSET', key('job', job.id), 'place', 'line')
  job.place = 'line'
  return open_flow(job.flow)
end

local function place_later(job, due)
  call('ZADD', LATER, int(due), job.id)
  call('HSET', key('job', job.id), 'place', 'later')
  job.place = 'later'
end

-- Takes a job out of its place in line or in `later`. Starts with a write that frees.
local function unplace(job)
  if job.place == 'later' then
    call('ZREM', LATER, job.id)
  elseif job.place == 'line' then
    local line = key(LINES, job.flow)
    call('ZREM', line, job.id)
    if call('EXISTS', line) == 0 then
      local _, connection, model = flow_parts(job.flow)
      local lane = lane_of(connection, model)
      call('ZREM', key('flows', lane), job.flow)
      tidy_lane(lane)
    end
  end
end

-- Takes a job from its worker: slot, claim or hold, and the lane's count. Starts with a write that frees.
local function release(job)
  if job.place == 'claim' then
    call('ZREM', key('claims', job.worker), job.id)
  else
    call('ZREM', key('held', job.worker), job.id)
    if job.cancel then call('SREM', key('stop', job.worker), job.id) end
  end
  call('ZADD', ROOM, 'XX', 'INCR', 1, job.worker)
  if call('HINCRBY', key('lane', job.lane), 'inflight', -1) <= 0 then tidy_lane(job.lane) end
end

-- Makes a job final. `ending` is a JSON fragment: "warnings":[...],"result":{...} or "error":{...}.
local function finish(job, state, ending)
  local k = key('job', job.id)
  local was = job.state == 'running' and 'running' or 'queued'
  if state == 'failed' then
    -- It keeps its request and the rest, so that it can be put back.
    call('HDEL', k, 'place', 'worker', 'lane', 'begun', 'cost')
    call('HSET', k, 'state', state, 'place', 'end', 'finished', int(now))
  else
    -- Only what later calls ask for. The hash is made anew, because one that ever held a long value keeps its large
    -- encoding: that was 1 kB more for each finished job.
    local kept = {'state', state, 'place', 'end', 'digest', call('HGET', k, 'digest')}
    for _, name in ipairs({'token', 'batch', 'idem'}) do
      if job[name] then
        kept[#kept + 1] = name
        kept[#kept + 1] = job[name]
      end
    end
    call('DEL', k)
    call('HSET', k, unpack(kept))
  end
  if job.expires then call('ZREM', EXPIRY, job.id) end
  job.state, job.place, job.finished, job.ending = state, 'end', int(now), ending
  call('SET', key('result', job.id), record(job))
  call('HINCRBY', TOTALS, 'jobs', -1)
  call('HINCRBY', TOTALS, 'bytes', '-' .. (job.bytes or '0'))
  count(job, was, state)
  if job.batch then
    call('RPUSH', key('batch', job.batch) .. ':ended', job.id)
    batch_maybe_ended(job.batch)
    call('PUBLISH', key('batch-done', job.batch), job.id)
  else
    local keep = tonumber(call('HGET', RULES, 'keep_ms') or '604800000')
    call('ZADD', ENDED, int(now + keep), 'job:' .. job.id)
  end
  call('PUBLISH', key('done', job.id), state)
end

-- A claim becomes a hold: from here on the call may have been sent. Starts with a write that frees.
local function hold(job)
  call('ZREM', key('claims', job.worker), job.id)
  call('ZADD', key('held', job.worker), int(now), job.id)
  job.place, job.state, job.begun, job.started = 'held', 'running', int(now), job.started or int(now)
  call('HSET', key('job', job.id), 'place', 'held', 'state', 'running', 'begun', job.begun, 'started', job.started)
  count(job, 'queued', 'running')
end

local function error_fragment(code, message, remedy)
  return '"warnings":[],"error":{"code":"' .. code .. '","message":"' .. message .. '","retryable":false,"remedy":"'
    .. remedy .. '"}'
end

local function finish_cancelled(job)
  finish(job, 'cancelled', error_fragment('cancelled', 'The job was cancelled.',
    'Enqueue it again if it was cancelled by mistake.'))
end

local function finish_expired(job)
  finish(job, 'expired', error_fragment('expired', 'The job was not started in time: its expires_in had passed.',
    'Enqueue it again with a longer expires_in, or ask why the connection is slow.'))
end

-- Cancels a job where it is: at once, or by asking the worker that holds it. Returns what became of it.
local function cancel(job)
  if job.place == 'end' then return job.state end
  if job.place == 'held' then
    call('HSET', key('job', job.id), 'cancel', '1')
    call('SADD', key('stop', job.worker), job.id)
    call('PUBLISH', key('cancels', job.worker), job.id)
    return 'stopping'
  end
  if job.place == 'claim' then release(job) else unplace(job) end
  finish_cancelled(job)
  return 'cancelled'
end

-- Deletes all that is known of a final job.
local function forget(id)
  local idem = call('HGET', key('job', id), 'idem')
  if idem then call('DEL', P .. ':idem:' .. idem) end
  call('DEL', key('job', id), key('result', id))
end

-- Notes that something came into an open batch. Producers die, and what is never sealed would be kept for good.
local function keep_open(batch, keep)
  call('ZADD', OPEN, int(now + math.max(tonumber(keep), ABANDONED_MS)), batch)
end

-- Whether the job is of this batch: a deleted job's id is free for another job, and the batch's lists keep it.
local function is_of(batch, id) return call('HGET', key('job', id), 'batch') == batch end

-- Deletes a batch with its jobs, `most` at a time. Returns their number; less than `most`: nothing of it is left.
local function forget_batch(batch, most)
  local k = key('batch', batch)
  local ids = call('LPOP', k .. ':jobs', most) or {}
  for _, id in ipairs(ids) do
    if is_of(batch, id) then forget(id) end
  end
  if #ids < most then call('DEL', k, k .. ':flows', k .. ':ended') end
  return #ids
end

-- Cancels the next `most` jobs of a cancelled batch. Returns their number; less than `most`: there are no more.
local function sweep(batch, most)
  local k = key('batch', batch)
  local from = tonumber(call('HGET', k, 'swept') or '0')
  local ids = call('LRANGE', k .. ':jobs', int(from), int(from + most - 1))
  for _, id in ipairs(ids) do
    local job = load(id)
    if job and job.batch == batch then cancel(job) end
  end
  if #ids == most then
    call('HSET', k, 'swept', int(from + most))
  else
    call('ZREM', SWEEPS, batch)
    batch_maybe_ended(batch)
  end
  return #ids
end

-- Ends an attempt: a call that was or may have been sent. `facts` is the JSON that the caller knows of it.
local function add_attempt(job, facts, counted)
  local made = tonumber(job.made or '0') + 1
  local entry = '{"number":' .. int(made) .. ',"started_at":' .. moment(job.begun) .. ',"ended_at":' .. moment(now)
    .. ',' .. facts .. '}'
  job.attempts = (job.attempts and job.attempts ~= '') and (job.attempts .. ',' .. entry) or entry
  job.made = int(made)
  if counted then job.counted = int(tonumber(job.counted or '0') + 1) end
  call('HSET', key('job', job.id), 'attempts', job.attempts, 'made', job.made, 'counted', job.counted or '0')
end

-- Whether a job was asked to stop, itself or with its batch. The sweep of a large batch takes a while; until it
-- comes by, jobs that come back must not open the batch's flows again.
local function is_cancelled(job)
  return job.cancel or (job.batch and call('HEXISTS', key('batch', job.batch), 'cancel') == 1)
end

-- A released job that is not final waits again: at its old place in line, or from `due` on.
local function wait_again(job, state, due)
  local k = key('job', job.id)
  call('HDEL', k, 'token', 'worker', 'lane', 'begun')
  job.token = nil
  if is_cancelled(job) then return finish_cancelled(job) end
  if job.state == 'running' then count(job, 'running', 'queued') end
  job.state = state
  if job.expires and tonumber(job.expires) <= now then return finish_expired(job) end
  call('HSET', k, 'state', state)
  if due and due > now then place_later(job, due) else place_in_line(job) end
end

-- The worker of a begun job died or was stopped: the call may have been sent, and paid for.
local function lose(job)
  local policy = call('HGET', RULES, 'on_worker_lost:' .. job.connection)
  local losses = tonumber(job.losses or '0') + 1
  release(job)
  add_attempt(job, '"connection":"' .. job.connection
    .. '","http_status":null,"error_code":"worker_lost","counted":false,"maybe_charged":true', false)
  call('HSET', key('job', job.id), 'losses', int(losses))
  call('HINCRBY', TOTALS, 'lost_leases', 1)
  if is_cancelled(job) then return finish_cancelled(job) end
  if policy == 'fail' then
    return finish(job, 'failed', error_fragment('worker_lost', 'The worker that ran the job died, or was silent for'
      .. ' longer than its lease; the call may have been charged.',
      'The connection says retry.on_worker_lost: fail. Enqueue the job again if paying twice is acceptable.'))
  end
  if losses >= MAX_LOSSES then
    return finish(job, 'failed', error_fragment('worker_lost', 'The workers that ran the job died ' .. int(losses)
      .. ' times.', 'See the logs of the workers: the job may be what kills them.'))
  end
  wait_again(job, 'queued')
end

-- A claim that nobody began goes back as it was.
local function give_back(job)
  release(job)
  wait_again(job, job.state)
end

local function fence_of(token) return tonumber(string.match(token, '^%d+') or '0') end

-- Notes that a worker has come to the message with this token.
local function note_message(worker, token)
  local k = key('worker', worker)
  local w = call('HMGET', k, 'slots', 'fence')
  if not w[1] then return end
  call('HSET', k, 'heard', int(now), 'fence', int(math.max(fence_of(token), tonumber(w[2] or '0'))))
end

-- How long to wait on for a worker that is working through its queue and has not come to this claim's message:
-- messages come in the order of their tokens. nil: the message is lost, or the worker silent.
-- (Given to another, the job would leave its message behind in the queue, for which those behind it would wait too
-- long in turn: once a worker was 3 s behind, nothing would ever begin again.)
local function behind_until(worker, job)
  local w = call('HMGET', key('worker', worker), 'heard', 'fence')
  if not w[1] or fence_of(job.token) <= tonumber(w[2]) then return nil end
  local patience = tonumber(w[1]) + CLAIM_MS
  return patience > now and patience or nil
end

-- Puts up to `most` jobs of a worker back: its claims as they were and, when it is `gone` for good, what it held as
-- lost. Returns their number; less than `most`: no more is left, and of a worker that is gone no trace.
local function evacuate(worker, most, gone)
  local ids = call('ZRANGE', key('claims', worker), 0, most - 1)
  for _, id in ipairs(ids) do give_back(load(id)) end
  local count = #ids
  if not gone or count == most then return count end
  ids = call('ZRANGE', key('held', worker), 0, most - count - 1)
  for _, id in ipairs(ids) do lose(load(id)) end
  count = count + #ids
  if count < most then
    call('ZREM', WORKERS, worker)
    call('DEL', key('worker', worker), key('stop', worker))
  end
  return count
end

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
