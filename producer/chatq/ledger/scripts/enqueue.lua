-- Writes jobs and gives each its place. All or nothing for the backlog limit; job by job for ids.
--
-- ARGV[1]  batch id, or empty      ARGV[2]  most jobs in the backlog      ARGV[3]  most bytes in the backlog
-- ARGV[4..]  the jobs, at most 1,000, each one argument: its parts, with the byte 30 after each but the last (neither JSON
--   nor a label holds it): id, due (+MS | MS | empty), expires in MS (or empty); then what is kept as it came, as the
--   end of the job's entry (see `ENTRY`): flow, idempotency scope and key (or empty), custom_id (JSON or empty), digest, bytes
--   of the request, cost, size of the prompt, longest answer in tokens (or empty), metadata (JSON or empty), trace (W3C
--   traceparent, or empty), request (JSON)
-- Returns {'full', jobs, bytes, ms until a try is worth it}: nothing was written; {'no_batch'}: the batch is unknown, sealed or cancelled;
-- or {'ok', now in ms, then three for each job that is not new: its place in the call from 1, 'same' | 'conflict', id}.
-- Atomic, because two producers may use the same id or idempotency key at the same moment.
-- Invariant: an id and an idempotency key belong to one job for as long as it has a record; in a batch a custom_id is the
-- idempotency key of a job that has no other.
-- A batch comes by hundreds in a call. What such a call costs is the arguments of its commands, and the strings and tables
-- made on the way: so what can be said of many jobs at once is.

local SOME = '([^\30]*)\30'
local PARTS = '^' .. string.rep(SOME, 3) .. '()' .. string.rep(SOME, 3) .. '[^\30]*\30' .. SOME
local DIGEST = '^' .. string.rep('[^\30]*\30', 6) .. '([^\30]*)'
local FIRST = 3    -- arguments before those of the jobs
local batch, most_jobs, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local totals = call('HMGET', TOTALS, 'jobs', 'bytes')
local jobs_now, bytes_now = tonumber(totals[1] or '0'), tonumber(totals[2] or '0')

local keep, moves = nil, nil
if batch ~= '' then
  local b = call('HMGET', key('batch', batch), 'sealed', 'keep', 'moves')
  if b[1] ~= '0' then return {'no_batch'} end
  keep, moves = b[2], b[3]
end

-- First what is known already; only new jobs count against the backlog.
local ids, keys, dues, lasts, kept_from, flows_of, sizes, idem_keys, names = {}, {}, {}, {}, {}, {}, {}, {}, {}
local count = #ARGV - FIRST
for i = 1, count do
  local id, idem, custom
  id, dues[i], lasts[i], kept_from[i], flows_of[i], idem, custom, sizes[i] = string.match(ARGV[i + FIRST], PARTS)
  local idem_key = idem ~= '' and P .. ':idem:' .. idem or batch ~= '' and custom ~= '' and name_in(batch, custom)
  ids[i], keys[i], keys[i + count], idem_keys[i] = id, key('entry', id), key('job', id), idem_key
  if idem_key then names[#names + 1] = idem_key end
end
local owner = {}
if #names > 0 then
  for i, id in ipairs(call('MGET', unpack(names))) do owner[names[i]] = id end
end
local some_are_there = #keys > 0 and call('EXISTS', unpack(keys)) > 0
local known, seen, fresh, fresh_bytes = {}, {}, 0, 0
for i, id in ipairs(ids) do
  local idem_key = idem_keys[i]
  if idem_key and owner[idem_key] then
    known[i] = owner[idem_key]
  elseif seen[id] or (some_are_there and is_known(id)) then
    known[i] = id
  else
    fresh, fresh_bytes = fresh + 1, fresh_bytes + tonumber(sizes[i])
    seen[id] = i
    if idem_key then owner[idem_key] = id end
  end
end
local jobs_over, bytes_over = jobs_now + fresh - most_jobs, bytes_now + fresh_bytes - most_bytes
if fresh > 0 and (jobs_over > 0 or bytes_over > 0) then return no_room(jobs_now, bytes_now, jobs_over, bytes_over) end

local function digest_of(i) return string.match(ARGV[i + FIRST], DIGEST) end

local created = int(now)
local reply, moment = {'ok', created}, '\30' .. created .. '\30' .. (moves or '') .. '\30'
local seq = fresh > 0 and number_in_line(fresh) - fresh or 0
local strings, new, flows, lines, came, later, expiry = {}, {}, {}, {}, {}, {}, {}
local function add(list, one, other)
  local n = #list
  list[n + 1], list[n + 2] = one, other
end
for i, id in ipairs(ids) do
  if known[i] then
    local first = seen[known[i]]
    local digest = first and digest_of(first) or (load(known[i]) or {}).digest
    reply[#reply + 1] = i
    add(reply, digest == digest_of(i) and 'same' or 'conflict', known[i])
  else
    local flow, due, expires = flows_of[i], dues[i], lasts[i]
    if due ~= '' then
      local at = string.sub(due, 1, 1) == '+' and now + tonumber(due) or tonumber(due)
      due = at > now and int(at) or ''
    end
    if expires ~= '' then
      expires = int(now + tonumber(expires))
      add(expiry, expires, id)
    end
    seq = seq + 1
    local kept = string.sub(ARGV[i + FIRST], kept_from[i])
    add(strings, keys[i], seq .. moment .. due .. '\30' .. expires .. '\30' .. kept)
    if idem_keys[i] then add(strings, idem_keys[i], id) end
    new[#new + 1] = id
    if not lines[flow] then
      flows[#flows + 1], lines[flow], came[flow] = flow, {}, 0
    end
    came[flow] = came[flow] + 1
    if due ~= '' then add(later, due, id) else add(lines[flow], seq, id) end
  end
end
if fresh > 0 then
  call('MSET', unpack(strings))
  if #expiry > 0 then call('ZADD', EXPIRY, unpack(expiry)) end
  if #later > 0 then call('ZADD', LATER, unpack(later)) end
  call('HINCRBY', TOTALS, 'jobs', fresh)
  call('HINCRBY', TOTALS, 'came', fresh)
  call('HINCRBY', TOTALS, 'bytes', int(fresh_bytes))
  for _, flow in ipairs(flows) do
    local _, connection = flow_parts(flow)
    call('HINCRBY', key('connection', connection), 'queued', came[flow])
  end
  if batch ~= '' then
    call('RPUSH', key('batch', batch) .. ':jobs', unpack(new))
    call('SADD', key('batch', batch) .. ':flows', unpack(flows))
    call('HINCRBY', key('batch', batch), 'total', fresh)
    call('HINCRBY', key('batch', batch), 'queued', fresh)
    keep_open(batch, keep)
  end
  local told = {}
  for _, flow in ipairs(flows) do
    if #lines[flow] > 0 then
      call('ZADD', key(LINES, flow), unpack(lines[flow]))
      local lane = open_flow(flow)
      if lane and not told[lane] then
        told[lane] = true
        call('PUBLISH', KICK, lane)
      end
    end
  end
end
return reply
