
-- Jobs: how one gets from place to place, and how it ends.

-- A batch ends when it is sealed and nothing of it waits or runs. Its jobs are purged with it.
local maybe_ended = {}

local function batch_maybe_ended(batch) maybe_ended[batch] = true end

local function end_batches() -- ends batch_maybe_ended
  for batch in pairs(maybe_ended) do
    local k = key('batch', batch)
    local b = call('HMGET', k, 'sealed', 'queued', 'running', 'ended', 'keep')
    if b[1] == '1' and tonumber(b[2]) == 0 and tonumber(b[3]) == 0 and not b[4] then
      call('HSET', k, 'ended', int(now))
      call('SREM', BUDGETED, batch)
      call('ZADD', ENDED, int(now + tonumber(b[5])), 'batch:' .. batch)
      call('PUBLISH', key('batch-done', batch), 'ended')
    end
  end
end

-- A batch as callers read it, JSON; nil when it is unknown.
local function batch_record(batch)
  local b = call('HMGET', key('batch', batch), 'sealed', 'cancel', 'paused', 'created', 'ended', 'metadata', 'total',
    'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'retry_of', 'prompt_tokens', 'answer_tokens',
    'cost', 'uncosted', 'max_cost', 'max_tokens', 'held_cost', 'held_tokens', 'lost_cost', 'lost_tokens', 'used_up', 'needs')
  if not b[1] then return nil end
  local function dollars(billionths) return billionths and string.format('%.9f', tonumber(billionths) / 1e9) or 'null' end
  local prompt, answer = b[15] or '0', b[16] or '0'
  local budget = 'null'
  if b[19] or b[20] then
    local used_up = b[25] and (b[25] == 'cost' and '"max_cost"' or '"max_tokens"')
    budget = table.concat({'{"max_cost_usd":', dollars(b[19]), ',"max_tokens":', b[20] or 'null', ',"reserved_usd":',
      dollars(b[21] or 0), ',"reserved_tokens":', b[22] or '0', ',"maybe_charged_usd":', dollars(b[23] or 0),
      ',"maybe_charged_tokens":', b[24] or '0', ',"used_up":', used_up or 'null', ',"needs":',
      not used_up and 'null' or b[25] == 'cost' and dollars(b[26]) or b[26], '}'})
  end
  return table.concat({'{"id":"', batch, '","sealed":', b[1] == '1' and 'true' or 'false', ',"cancel_requested":',
    b[2] and 'true' or 'false', ',"paused_at":', json_moment(b[3]), ',"created_at":', json_moment(b[4]), ',"ended_at":',
    json_moment(b[5]), ',"counts":{"total":', b[7], ',"queued":', b[8], ',"running":', b[9], ',"succeeded":', b[10],
    ',"failed":', b[11], ',"cancelled":', b[12], ',"expired":', b[13], '}',
    ',"usage":{"prompt_tokens":', prompt, ',"completion_tokens":', answer, ',"total_tokens":',
    int(tonumber(prompt) + tonumber(answer)), '},"cost_usd":', dollars(b[17]), ',"uncosted":', b[18] or '0',
    ',"budget":', budget, b[14] and ',"retry_of":"' .. b[14] .. '"' or '', ',"metadata":', b[6], '}'})
end

-- Whether a batch can still be acted on: nil, or why not: 'unknown', 'ended' or 'cancelled'.
local function batch_is_over(batch)
  local b = call('HMGET', key('batch', batch), 'sealed', 'ended', 'cancel')
  return not b[1] and 'unknown' or b[2] and 'ended' or b[3] and 'cancelled' or nil
end

local function place_in_line(job)
  call('ZADD', key(LINES, job.flow), job.seq, job.id)
  if job.place ~= 'line' then
    call('HSET', key('job', job.id), 'place', 'line')
    job.place = 'line'
  end
  return open_flow(job.flow)
end

local function place_later(job, due) -- seldom
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
    if call('EXISTS', line) == 0 then close_flow(job.flow) end
  end
end

-- What a job weighs among the suspects of its worker, of whom it takes SUSPECTS_PER_WORKER. So each loss narrows the
-- search: jobs that were innocent neighbours of what killed a worker end, and what kills them is found in the end, alone.
-- Beside the last suspect may be another killer that was not suspected yet, so whoever died in company once more has a
-- worker to itself.
local function suspicion_of(losses)
  losses = tonumber(losses or '0')
  return losses < SUSPECT and 0 or losses < ALONE and 1 or losses < APART and SUSPECTS_PER_WORKER
    or SUSPECTS_PER_WORKER + 1
end

local function suspect(worker, weight)
  if weight ~= 0 then call('HINCRBY', key('worker', worker), 'suspects', weight) end
end

-- Takes a job from its worker: slot, claim or hold, and the lane's count; what a claim had reserved is given back, of the
-- budgets what is reserved still. Starts with a write that frees.
local function release(job)
  if job.place == 'claim' then
    call('ZREM', key('claims', job.worker), job.id)
    refund(job, false)
  else
    call('ZREM', key('held', job.worker), job.id)
    if job.cancel then call('SREM', key('stop', job.worker), job.id) end
  end
  spend(job, '')
  if not call('ZADD', ROOM, 'XX', 'INCR', 1, job.worker) then call('ZADD', STALLED, 'XX', 'INCR', 1, job.worker) end
  suspect(job.worker, -suspicion_of(job.losses))
  if job.probe and job.probe == call('HGET', key('lane', job.lane), 'ramp') then
    call('HINCRBY', key('lane', job.lane), 'probes', -1)
    review(job.lane)
  end
  if call('HINCRBY', key('lane', job.lane), 'inflight', -1) <= 0 then tidy_lane(job.lane) end
end

-- Makes a job final. `ending` is a JSON fragment: "warnings":[...],"result":{...} or "error":{...}.
local function finish(job, state, ending)
  local k = key('job', job.id)
  local was = job.state == 'running' and 'running' or 'queued'
  if state == 'failed' then
    -- It keeps its entry and the rest, so that it can be tried again.
    call('HDEL', k, 'place', 'worker', 'lane', 'begun', 'reserved', 'charge', 'probe', 'via')
    call('HSET', k, 'state', state, 'place', 'end', 'finished', int(now))
    count_failure(job.connection, 'job_failed', string.match(ending or '', '"error":{"code":"([^"]+)"'))
  else
    -- Only what later calls ask for. The hash is made anew, because one that ever held a long value keeps its large
    -- encoding.
    local kept = {'state', state, 'place', 'end'}
    for _, name in ipairs({'flow', 'idem', 'custom', 'digest', 'token'}) do
      local n = #kept
      if job[name] then kept[n + 1], kept[n + 2] = name, job[name] end
    end
    call('DEL', k, key('entry', job.id))
    call('HSET', k, unpack(kept))
  end
  if job.expires then call('ZREM', EXPIRY, job.id) end
  if job.told then call('EXPIRE', key('deltas', job.id), DELTAS_S) end
  job.state, job.place, job.finished, job.ending = state, 'end', int(now), ending
  call('SET', key('result', job.id), record(job))
  add_up(TOTALS, 'jobs', -1)
  add_up(TOTALS, 'bytes', -tonumber(job.bytes or '0'))
  count_state(job, was, state)
  if job.batch then
    call('RPUSH', key('batch', job.batch) .. ':ended', job.id)
    batch_maybe_ended(job.batch)
    call('PUBLISH', key('batch-done', job.batch), job.id)
  else
    local keep = tonumber(rule('keep_ms') or '604800000')
    call('ZADD', ENDED, int(now + keep), 'job:' .. job.id)
  end
  call('PUBLISH', key('done', job.id), state)
end

-- Refuses what the backlog has no room for. Last, the ms until a try is worth it, by how fast jobs ended of late.
local function no_room(jobs, bytes, jobs_over, bytes_over)
  local over = math.max(1, jobs_over, jobs * bytes_over / math.max(1, bytes))
  local drain = tonumber(call('HGET', TOTALS, 'drain') or nil)
  local wait = drain and over / drain or 2000
  return {'full', jobs, int(bytes), int(math.min(math.max(wait, 1000), 60000))}
end

-- A claim becomes a hold: from here on the call may have been sent. `blocked`: as `blocked_ms` tells it, if that is known.
-- Starts with a write that frees.
local function hold(job, blocked)
  call('ZREM', key('claims', job.worker), job.id)
  call('ZADD', key('held', job.worker), int(now), job.id)
  local fields = {'place', 'held', 'state', 'running', 'begun', int(now)}
  job.place, job.state, job.begun = 'held', 'running', int(now)
  local first = not job.started
  if first then
    job.started, job.blocked = int(now), int(blocked or blocked_ms(job))
    for _, part in ipairs({'started', job.started, 'blocked', job.blocked}) do fields[#fields + 1] = part end
  end
  call('HSET', key('job', job.id), unpack(fields))
  count_state(job, 'queued', 'running')
  if first then count_times(job.connection, 'line', now - tonumber(job.due or job.created)) end
end

local function error_fragment(code, message, remedy)
  return '"warnings":[],"error":{"code":"' .. code .. '","message":"' .. message .. '","retryable":false,"remedy":"'
    .. remedy .. '"}'
end

local function finish_cancelled(job) -- seldom
  finish(job, 'cancelled', error_fragment('cancelled', 'The job was cancelled.',
    'Enqueue it again if it was cancelled by mistake.'))
end

local function finish_expired(job) -- seldom
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

-- The key that says which job of a batch has a custom_id (JSON).
local function name_in(batch, custom) return P .. ':idem:batch:' .. batch .. SEPARATOR .. custom end

-- Deletes all that is known of a final job.
local function forget(job)
  if job.idem then
    call('DEL', P .. ':idem:' .. job.idem)
  elseif job.batch and job.custom then
    call('DEL', name_in(job.batch, job.custom))
  end
  call('DEL', key('job', job.id), key('entry', job.id), key('result', job.id), key('deltas', job.id))
end

-- Notes that something came into an open batch. Producers die, and what is never sealed would be kept for good.
local function keep_open(batch, keep)
  call('ZADD', OPEN, int(now + math.max(tonumber(keep), ABANDONED_MS)), batch)
end

-- A job if it is of this batch: a deleted job's id is free for another job, and the batch's lists keep it.
local function load_of(batch, id)
  local job = load(id)
  return job and job.batch == batch and job or nil
end

-- Deletes a batch with its jobs, `most` at a time. Returns their number; less than `most`: nothing of it is left.
local function forget_batch(batch, most)
  local k = key('batch', batch)
  local ids = call('LPOP', k .. ':jobs', most) or {}
  for _, id in ipairs(ids) do
    local job = load_of(batch, id)
    if job then forget(job) end
  end
  if #ids < most then
    call('DEL', k, k .. ':flows', k .. ':ended')
    call('ZREM', BATCHES, batch)
    call('SREM', BUDGETED, batch)
  end
  return #ids
end

-- Gives a job that waits, or is about to, the connection and model that its batch was moved to since. Its place in the
-- batch's order stays. Returns whether its flow is another now.
local function follow(job) -- seldom
  local b = call('HMGET', key('batch', job.batch), 'moves', 'to', 'to_model')
  if not b[1] or job.moved == b[1] then return false end
  local priority, connection, _, group = flow_parts(job.flow)
  local flow = table.concat({int(priority), b[2], b[3], group}, SEPARATOR)
  call('HSET', key('job', job.id), 'moved', b[1], 'flow', flow)
  if flow == job.flow then return false end
  call('HINCRBY', key('connection', connection), 'queued', -1)
  call('HINCRBY', key('connection', b[2]), 'queued', 1)
  call('SADD', key('batch', job.batch) .. ':flows', flow)
  job.moved, job.connection, job.model, job.flow = b[1], b[2], b[3], flow
  return true
end

-- Moves a job to the connection of its batch. One that is in flight follows when it comes back.
local function move(job)
  if job.place == 'later' then
    follow(job)
  elseif job.place == 'line' then
    local before = {id = job.id, place = 'line', flow = job.flow}
    if follow(job) then
      unplace(before)
      place_in_line(job)
    end
  end
end

-- Cancels, or moves, the next `most` jobs of a batch. Returns their number; less than `most`: there are no more.
local function sweep(batch, most)
  local k = key('batch', batch)
  local b = call('HMGET', k, 'swept', 'cancel')
  local from, act = tonumber(b[1] or '0'), b[2] and cancel or move
  local ids = call('LRANGE', k .. ':jobs', int(from), int(from + most - 1))
  for _, id in ipairs(ids) do
    local job = load_of(batch, id)
    if job then act(job) end
  end
  if #ids == most then
    call('HSET', k, 'swept', int(from + most))
  else
    call('ZREM', SWEEPS, batch)
    call('HDEL', k, 'moving')
    if not b[2] then move_flows(call('SMEMBERS', k .. ':flows')) end
    batch_maybe_ended(batch)
  end
  return #ids
end

-- Ends an attempt: a call that was or may have been sent. `facts` is the JSON that the caller knows of it, flat. It is written
-- when the job waits again: most succeed, and then it stands in the record alone.
-- A job may be refused for a limit ever so often. Of attempts that neither counted nor may have been charged the youngest
-- are kept, the numbers of the others are missing.
local function add_attempt(job, facts, counted)
  local made = tonumber(job.made or '0') + 1
  local entry = '{"number":' .. int(made) .. ',"started_at":' .. json_moment(job.begun) .. ',"ended_at":' .. json_moment(now)
    .. ',"connection":"' .. server_for(job) .. '",' .. facts .. ',"counted":' .. (counted and 'true' or 'false') .. '}'
  job.attempts = (job.attempts and job.attempts ~= '') and (job.attempts .. ',' .. entry) or entry
  if #job.attempts > MOST_ATTEMPTS_BYTES then
    job.attempts = string.gsub(job.attempts, '{[^{}]*"maybe_charged":false,"counted":false},', '', 1)
  end
  job.made = int(made)
  if counted then job.counted = int(tonumber(job.counted or '0') + 1) end
  count_failure(server_for(job), 'call_failed', string.match(facts, '"error_code":"([^"]+)"'))
end

-- Whether a job was asked to stop, itself or with its batch. The sweep of a large batch takes a while; until it
-- comes by, jobs that come back must not open the batch's flows again.
local function is_cancelled(job)
  return job.cancel or (job.batch and call('HEXISTS', key('batch', job.batch), 'cancel') == 1)
end

-- A released job that is not final waits again: at its old place in line, or from `due` on. One whose caller has seen a
-- part of the answer fails instead, with `ending`: another answer would not go on from it.
local function wait_again(job, state, due, ending) -- seldom
  local k = key('job', job.id)
  call('HDEL', k, 'token', 'worker', 'lane', 'begun', 'reserved', 'charge', 'probe', 'via')
  job.token = nil
  if is_cancelled(job) then return finish_cancelled(job) end
  if job.told then return finish(job, 'failed', ending) end
  if job.state == 'running' then count_state(job, 'running', 'queued') end
  job.state = state
  if job.batch then follow(job) end
  if job.expires and tonumber(job.expires) <= now then return finish_expired(job) end
  call('HSET', k, 'state', state)
  if job.made then call('HSET', k, 'attempts', job.attempts, 'made', job.made, 'counted', job.counted or '0') end
  if job.trace then call('HSET', k, 'since', int(math.max(now, due or 0))) end
  if due and due > now then place_later(job, due) else place_in_line(job) end
end

-- The worker of a begun job died or was stopped: the call may have been sent, and paid for. `apart`: it held no other.
local function lose(job, apart)
  local policy = rule('on_worker_lost:' .. job.connection)
  local before = tonumber(job.losses or '0')
  local losses = before + 1
  spend(job, '?')
  release(job)
  add_attempt(job, '"http_status":null,"error_code":"worker_lost","maybe_charged":true', false)
  call('HSET', key('job', job.id), 'losses', int(losses))
  call('HINCRBY', TOTALS, 'lost_leases', 1)
  if is_cancelled(job) then return finish_cancelled(job) end
  if job.told then
    return finish(job, 'failed', error_fragment('worker_lost', 'The worker that ran the job died, or was silent for'
      .. ' longer than its lease, after a part of the answer had been sent to the caller; the call may have been charged.',
      'Enqueue the job again if paying twice is acceptable.'))
  end
  if policy == 'fail' then
    return finish(job, 'failed', error_fragment('worker_lost', 'The worker that ran the job died, or was silent for'
      .. ' longer than its lease; the call may have been charged.',
      'The connection says retry.on_worker_lost: fail. Enqueue the job again if paying twice is acceptable.'))
  end
  if before >= ALONE and apart then
    return finish(job, 'failed', error_fragment('worker_lost', 'The workers that ran the job died ' .. int(losses)
      .. ' times, the last of them while no other job ran there.',
      'See the logs of the workers: the job is likely what kills them.'))
  end
  if losses == SUSPECT then
    job.flow = job.flow .. SEPARATOR .. 'lost'
    call('HSET', key('job', job.id), 'flow', job.flow)
    if job.batch then call('SADD', key('batch', job.batch) .. ':flows', job.flow) end
  end
  wait_again(job, 'queued')
end

-- A claim that nobody began goes back as it was.
local function give_back(job) -- seldom
  release(job)
  wait_again(job, job.state)
end

local function fence_of(token) return tonumber(string.match(token, '^%d+') or '0') end

-- A worker renews its lease and comes to none of its messages: its consumer is deaf, or its process held up. It is given
-- jobs only while no other takes any, and told, so that it looks after its consumer.
-- What is in its queue are jobs that it may not begin any more: it would get through them while the next ones get old, and
-- so for ever, the more so the slower it is. They are thrown away (a broker that is another server keeps them), and it gets
-- few at a time until it keeps up.
local function stall(worker) -- seldom
  local room = call('ZSCORE', ROOM, worker)
  if not room then return end
  call('ZREM', ROOM, worker)
  call('ZADD', STALLED, room, worker)
  call('HSET', key('worker', worker), 'stalled', int(now), 'window', FIRST_CLAIMS)
  call('DEL', key('queue', worker))
  call('PUBLISH', key('cancels', worker), '')
end

-- Notes that a worker has come to `count` messages, up to the one whose token has this fence; one that had stalled takes jobs
-- again.
local function note_messages(worker, fence, count)
  local k = key('worker', worker)
  local w = call('HMGET', k, 'slots', 'fence', 'stalled', 'window')
  if not w[1] then return end
  if w[4] and call('HINCRBY', k, 'window', count) >= CLAIMS_PER_WORKER then call('HDEL', k, 'window') end
  call('HSET', k, 'heard', int(now), 'fence', int(math.max(fence, tonumber(w[2] or '0'))))
  if not w[3] then return end
  call('HDEL', k, 'stalled')
  local room = call('ZSCORE', STALLED, worker)
  if not room then return end
  call('ZREM', STALLED, worker)
  call('ZADD', ROOM, room, worker)
  call('PUBLISH', KICK, '')
end

-- How long to wait on for a worker that is working through its queue and has not come to this claim's message:
-- messages come in the order of their tokens. nil: the message is lost, or, when the second value is true, the worker has
-- come to none for so long.
-- (Given to another, the job would leave its message behind in the queue, for which those behind it would wait too
-- long in turn: once a worker was 3 s behind, nothing would ever begin again.)
local function behind_until(worker, job)
  local w = call('HMGET', key('worker', worker), 'heard', 'fence')
  if w[1] and fence_of(job.token) <= tonumber(w[2]) then return nil, false end
  local patience = tonumber(w[1] or '0') + CLAIM_MS
  if patience > now then return patience, false end
  return nil, true
end

-- Puts up to `most` jobs of a worker back: its claims as they were and, when it is `gone` for good, what it held as
-- lost. Returns their number; less than `most`: no more is left, and of a worker that is gone no trace.
local function evacuate(worker, most, gone)
  local ids = call('ZRANGE', key('claims', worker), 0, most - 1)
  for _, id in ipairs(ids) do give_back(load(id)) end
  local count = #ids
  if not gone or count == most then return count end
  ids = call('ZRANGE', key('held', worker), 0, most - count - 1)
  -- Of the many that it held the last may come in a call of its own.
  if #ids > 0 then call('HSETNX', key('worker', worker), 'left', call('ZCARD', key('held', worker))) end
  local apart = call('HGET', key('worker', worker), 'left') == '1'
  for _, id in ipairs(ids) do lose(load(id), apart) end
  count = count + #ids
  if count < most then
    call('ZREM', WORKERS, worker)
    call('DEL', key('worker', worker), key('stop', worker))
  end
  return count
end
