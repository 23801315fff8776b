-- Writes jobs and gives each its place. All or nothing for the backlog limit; job by job for ids.
--
-- ARGV[1]  batch id, or empty      ARGV[2]  most jobs in the backlog      ARGV[3]  most bytes in the backlog
-- then for each job 14 arguments:
--   id, digest, idempotency scope and key (or empty), connection, model, flow, cost, due (+MS | MS | empty),
--   expires in MS (or empty), request (JSON), metadata (JSON), custom_id (JSON or empty), size of the prompt, longest
--   answer in tokens (or 0)
-- Returns {'full', jobs, bytes, ms until a try is worth it}: nothing was written; {'no_batch'}: the batch is unknown, sealed or cancelled;
-- or {'ok', now in ms, then two for each job: 'new' | 'same' | 'conflict', id}.
-- Atomic, because two producers may use the same id or idempotency key at the same moment.
-- Invariant: an id and an idempotency key belong to one job for as long as it has a record.

local STRIDE = 14
local batch, most_jobs, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local bytes, count = 0, 0
for i = 4, #ARGV, STRIDE do
  count = count + 1
  bytes = bytes + #ARGV[i + 9]
end
local totals = call('HMGET', TOTALS, 'jobs', 'bytes')
local jobs_now, bytes_now = tonumber(totals[1] or '0'), tonumber(totals[2] or '0')

local keep, moves = nil, nil
if batch ~= '' then
  local b = call('HMGET', key('batch', batch), 'sealed', 'keep', 'moves')
  if b[1] ~= '0' then return {'no_batch'} end
  keep, moves = b[2], b[3]
end

-- First what is known already; only new jobs count against the backlog.
local known, fresh, fresh_bytes = {}, 0, 0
local seen = {}
for i = 4, #ARGV, STRIDE do
  local id, idem = ARGV[i], ARGV[i + 2]
  local old = idem ~= '' and (seen['k' .. idem] or call('GET', P .. ':idem:' .. idem)) or nil
  if not old and (seen['i' .. id] or call('EXISTS', key('job', id)) == 1) then old = id end
  if old then
    known[i] = old
  else
    fresh, fresh_bytes = fresh + 1, fresh_bytes + #ARGV[i + 9]
    seen['i' .. id] = ARGV[i + 1]
    if idem ~= '' then seen['k' .. idem] = id end
  end
end
local jobs_over, bytes_over = jobs_now + fresh - most_jobs, bytes_now + fresh_bytes - most_bytes
if fresh > 0 and (jobs_over > 0 or bytes_over > 0) then return no_room(jobs_now, bytes_now, jobs_over, bytes_over) end

local reply = {'ok', int(now)}
local last = fresh > 0 and number_in_line(fresh) or 0
local seq = last - fresh
local kicked = {}
for i = 4, #ARGV, STRIDE do
  local id, digest, idem = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local old = known[i]
  if old then
    local old_digest = call('HGET', key('job', old), 'digest')
    reply[#reply + 1] = old_digest == digest and 'same' or 'conflict'
    reply[#reply + 1] = old
  else
    seq = seq + 1
    local due = ARGV[i + 7]
    local at = nil
    if string.sub(due, 1, 1) == '+' then at = now + tonumber(due) elseif due ~= '' then at = tonumber(due) end
    local job = {id = id, connection = ARGV[i + 3], flow = ARGV[i + 5], seq = int(seq)}
    local fields = {'state', 'queued', 'digest', digest, 'connection', job.connection, 'model', ARGV[i + 4],
      'flow', job.flow, 'seq', job.seq, 'cost', ARGV[i + 6], 'created', int(now), 'request', ARGV[i + 9],
      'bytes', int(#ARGV[i + 9]), 'size', ARGV[i + 12]}
    local function set(name, value) fields[#fields + 1] = name fields[#fields + 1] = value end
    if idem ~= '' then
      call('SET', P .. ':idem:' .. idem, id)
      set('idem', idem)
    end
    if ARGV[i + 13] ~= '0' then set('cap', ARGV[i + 13]) end
    if ARGV[i + 10] ~= '{}' then set('metadata', ARGV[i + 10]) end
    if ARGV[i + 11] ~= '' then set('custom', ARGV[i + 11]) end
    if batch ~= '' then set('batch', batch) end
    if moves then set('moved', moves) end
    if ARGV[i + 8] ~= '' then
      local expires = int(now + tonumber(ARGV[i + 8]))
      set('expires', expires)
      call('ZADD', EXPIRY, expires, id)
    end
    call('HSET', key('job', id), unpack(fields))
    if at and at > now then
      place_later(job, at)
    elseif kicked[job.flow] then
      call('ZADD', key(LINES, job.flow), job.seq, id)
      call('HSET', key('job', id), 'place', 'line')
    else
      kicked[job.flow] = place_in_line(job)
    end
    call('HINCRBY', key('connection', job.connection), 'queued', 1)
    if batch ~= '' then
      call('RPUSH', key('batch', batch) .. ':jobs', id)
      call('SADD', key('batch', batch) .. ':flows', job.flow)
    end
    reply[#reply + 1] = 'new'
    reply[#reply + 1] = id
  end
end
if fresh > 0 then
  call('HINCRBY', TOTALS, 'jobs', fresh)
  call('HINCRBY', TOTALS, 'came', fresh)
  call('HINCRBY', TOTALS, 'bytes', int(fresh_bytes))
  if batch ~= '' then
    call('HINCRBY', key('batch', batch), 'total', fresh)
    call('HINCRBY', key('batch', batch), 'queued', fresh)
    keep_open(batch, keep)
  end
  local told = {}
  for _, lane in pairs(kicked) do
    if not told[lane] then
      told[lane] = true
      call('PUBLISH', KICK, lane)
    end
  end
end
return reply
