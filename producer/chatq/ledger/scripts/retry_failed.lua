-- Tries failed jobs again, as new jobs: a final job never changes. The new one says which it tries again, the old job's hash
-- by which it was (`retried`), so that it is done once however often it is asked for.
--
-- ARGV[1]  batch whose failed jobs are meant, or empty: those that are in no batch
-- ARGV[2]  open batch for the new jobs, or empty
-- ARGV[3]  cursor: of a batch how many of its final jobs were looked at before; else how many of the youngest final jobs
-- ARGV[4]  most jobs to look at; fewer when they are large      ARGV[5]  only failures of this code, or empty
-- ARGV[6]  only jobs of this connection, or empty
-- ARGV[7]  most jobs in the backlog      ARGV[8]  most bytes in the backlog      ARGV[9]  start of the new ids, 24 characters
-- Returns {'full', jobs, bytes, ms until a try is worth it}: nothing was written; {'no_batch'}: either batch is unknown, or the new one is not open;
-- or {next cursor, '1' when there are no more, ids of the new jobs ...}.
-- Atomic, because two callers may retry the same jobs at the same moment.
-- New jobs go at once; one with `expires_in` has its time again.

local old_batch, new_batch, from, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local keep = nil
if new_batch ~= '' then
  local b = call('HMGET', key('batch', new_batch), 'sealed', 'keep')
  if b[1] ~= '0' or call('EXISTS', key('batch', old_batch)) == 0 then return {'no_batch'} end
  keep = b[2]
end

local ids = {}
if old_batch ~= '' then
  ids = call('LRANGE', key('batch', old_batch) .. ':ended', int(from), int(from + most - 1))
else
  for _, entry in ipairs(call('ZREVRANGE', ENDED, int(from), int(from + most - 1))) do
    ids[#ids + 1] = string.sub(entry, 1, 4) == 'job:' and string.sub(entry, 5) or ''
  end
end

local MOST_BYTES = 4194304
local chosen, bytes, seen = {}, 0, 0
for _, id in ipairs(ids) do
  if bytes > MOST_BYTES then break end
  seen = seen + 1
  local job = load(id)
  -- One that was refused has no request.
  if job and job.state == 'failed' and job.bytes and (job.batch or '') == old_batch and not job.retried
    and (ARGV[6] == '' or job.connection == ARGV[6])
    and (ARGV[5] == '' or string.find(call('GET', key('result', id)), '"error":{"code":"' .. ARGV[5] .. '"', 1, true)) then
    chosen[#chosen + 1] = job
    bytes = bytes + tonumber(job.bytes)
  end
end
local totals = call('HMGET', TOTALS, 'jobs', 'bytes')
local jobs_now, bytes_now = tonumber(totals[1] or '0'), tonumber(totals[2] or '0')
local jobs_over, bytes_over = jobs_now + #chosen - tonumber(ARGV[7]), bytes_now + bytes - tonumber(ARGV[8])
if #chosen > 0 and (jobs_over > 0 or bytes_over > 0) then return no_room(jobs_now, bytes_now, jobs_over, bytes_over) end

local reply = {int(from + seen), #ids < most and seen == #ids and '1' or '0'}
local seq = #chosen > 0 and number_in_line(#chosen) - #chosen or 0
for _, old in ipairs(chosen) do
  seq = seq + 1
  local priority, connection, model, group = flow_parts(old.flow)
  local format = string.match(group, '\31format:%d+') or ''
  group = (new_batch ~= '' and 'batch:' .. new_batch or string.match(group, '^[^\31]*')) .. format
  local job = {id = ARGV[9] .. string.format('%08x', seq % 4294967296), connection = connection, seq = int(seq),
    flow = table.concat({int(priority), connection, model, group}, SEPARATOR), place = 'line'}
  -- The same is asked, but not under the same idempotency key, nor as a part of the same trace.
  local expires = old.expires and int(now + tonumber(old.expires) - tonumber(old.created))
  local new = {seq = job.seq, created = int(now), moved = '', due = '', expires = expires, flow = job.flow, idem = '', trace = ''}
  local entry = {}
  for i, name in ipairs(ENTRY) do entry[i] = new[name] or old[name] or '' end
  entry[#ENTRY + 1] = call('GETRANGE', key('entry', old.id), '-' .. old.bytes, -1)
  call('SET', key('entry', job.id), table.concat(entry, '\30'))
  call('HSET', key('job', job.id), 'retry_of', old.id)
  if expires then call('ZADD', EXPIRY, expires, job.id) end
  call('HSET', key('job', old.id), 'retried', job.id)
  place_in_line(job)
  call('HINCRBY', key('connection', connection), 'queued', 1)
  if new_batch ~= '' then
    call('RPUSH', key('batch', new_batch) .. ':jobs', job.id)
    call('SADD', key('batch', new_batch) .. ':flows', job.flow)
  end
  reply[#reply + 1] = job.id
end
if #chosen > 0 then
  call('HINCRBY', TOTALS, 'jobs', #chosen)
  call('HINCRBY', TOTALS, 'came', #chosen)
  call('HINCRBY', TOTALS, 'bytes', int(bytes))
  if new_batch ~= '' then
    call('HINCRBY', key('batch', new_batch), 'total', #chosen)
    call('HINCRBY', key('batch', new_batch), 'queued', #chosen)
    keep_open(new_batch, keep)
  end
  call('PUBLISH', KICK, '')
end
return reply
