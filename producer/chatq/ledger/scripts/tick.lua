-- What time does: the clock of every worker calls it about once a second, and only the leader's call acts.
--
-- ARGV[1]  worker      ARGV[2]  ms a leader may be silent      ARGV[3]  most jobs moved in this call
-- ARGV[4]  the server's run id      ARGV[5]  ms of grace for everybody's lease after the server was restarted
-- Returns {'0', ms} when another worker leads; else
-- {'1', ms until the next thing is due, number of dead workers, their ids, then the lanes that are due}.
-- Work beyond the most is due at once (ms is 0).
-- Atomic in parts: each job moves in one piece; a call that does less than all is repeated.
-- Invariant: nothing is left that nobody will pick up: claims, leases, moments and expiries all end here.

local me, most = ARGV[1], tonumber(ARGV[3])
run_without_memory()
local leader = call('HMGET', LEADER, 'worker', 'until')
if leader[1] and leader[1] ~= me and call('ZSCORE', WORKERS, leader[1]) then
  local left = tonumber(leader[2]) - now
  if left > 0 then return {'0', int(left)} end
end
call('HSET', LEADER, 'worker', me, 'until', int(now + tonumber(ARGV[2])))

local DRAIN_MS = 5000

local wait = RECHECK_MS
local left = most

-- The next members of a sorted set whose moment has come, as many as this call may still do.
local function due(set)
  if left == 0 then return {} end
  local ids = call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, left)
  left = left - #ids
  return ids
end

local function sooner(set)
  local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[1] then wait = math.max(0, math.min(wait, tonumber(first[2]) - now)) end
end

local workers = call('ZRANGE', WORKERS, 0, -1)

-- No lease is judged before its worker could renew it: not after a restart of the server, and not when nobody kept time
-- for so long that the next leader would have been silent too. Then the server hung, or refused to write, and the
-- answers that came meanwhile wait in the workers.
local function spare(ms)
  for _, worker in ipairs(workers) do call('ZADD', WORKERS, 'XX', 'GT', int(now + ms), worker) end
end

local server = call('GET', P .. ':server')
if server ~= ARGV[4] then
  if server then
    spare(tonumber(ARGV[5]))
    for _, worker in ipairs(workers) do
      for _, id in ipairs(call('ZRANGEBYSCORE', key('claims', worker), '-inf', int(now))) do
        call('ZADD', key('claims', worker), int(now + CLAIM_MS), id)
      end
    end
  end
  call('SET', P .. ':server', ARGV[4])
elseif leader[2] and now - tonumber(leader[2]) > tonumber(ARGV[2]) then
  spare(tonumber(ARGV[2]))
end

-- Workers whose lease ran out: no slots of theirs from now on. They leave WORKERS at once, so that a renewal that
-- comes while their jobs are put back is told that they are lost.
for _, worker in ipairs(call('ZRANGEBYSCORE', WORKERS, '-inf', int(now))) do
  call('ZREM', ROOM, worker)
  call('ZREM', STALLED, worker)
  call('ZREM', WORKERS, worker)
  call('ZADD', DYING, int(now), worker)
end
local dead = {}
while left > 0 do
  local worker = call('ZRANGE', DYING, 0, 0)[1]
  if not worker then break end
  left = left - evacuate(worker, left, true)
  if left > 0 then
    call('ZREM', DYING, worker)
    dead[#dead + 1] = worker
  end
end

-- Claims that ran out: the message was lost, or the worker has not come to it yet.
for _, worker in ipairs(workers) do
  local claims = key('claims', worker)
  for _, id in ipairs(due(claims)) do
    local job = load(id)
    local patience, silent = behind_until(worker, job)
    if patience then
      call('ZADD', claims, int(patience), id)
    else
      if silent then stall(worker) end
      give_back(job)
      call('HINCRBY', TOTALS, 'lost_claims', 1)
    end
  end
  sooner(claims)
end

-- Jobs whose moment has come take their place in line.
for _, id in ipairs(due(LATER)) do
  local job = load(id)
  call('ZREM', LATER, id)
  if is_cancelled(job) then finish_cancelled(job) else place_in_line(job) end
end

-- Jobs that were not started in time. A running one is left alone: expiry stops a job between attempts.
for _, id in ipairs(due(EXPIRY)) do
  local job = load(id)
  if job.place == 'held' then
    call('ZREM', EXPIRY, id)
  else
    if job.place == 'claim' then release(job) else unplace(job) end
    finish_expired(job)
  end
end

-- What was kept for its time.
for _, entry in ipairs(call('ZRANGEBYSCORE', ENDED, '-inf', int(now), 'LIMIT', 0, left)) do
  if left == 0 then break end
  local deleted = 1
  if string.sub(entry, 1, 4) == 'job:' then
    local job = load(string.sub(entry, 5))
    if job then forget(job) end
    call('ZREM', ENDED, entry)
  else
    deleted = forget_batch(string.sub(entry, 7), left)
    if deleted < left then call('ZREM', ENDED, entry) end
  end
  left = left - math.max(1, deleted)
end

-- Connections whose budget of the day is there again.
local spent = due(SPENT)
for _, connection in ipairs(spent) do call('ZREM', SPENT, connection) end
if #spent > 0 then move_flows(all_flows()) end

-- Batches whose producer never sealed them.
for _, batch in ipairs(due(OPEN)) do
  call('ZREM', OPEN, batch)
  call('HSET', key('batch', batch), 'sealed', '1')
  batch_maybe_ended(batch)
end

write_sums()

-- How many jobs end in a ms: for those who find no room in the backlog.
local totals = call('HMGET', TOTALS, 'came', 'jobs', 'noted', 'noted_at')
local ended, since = tonumber(totals[1] or '0') - tonumber(totals[2] or '0'), tonumber(totals[4] or '0')
if now >= since + DRAIN_MS then
  call('HSET', TOTALS, 'noted', int(ended), 'noted_at', int(now))
  if totals[3] then call('HSET', TOTALS, 'drain', string.format('%.6f', (ended - tonumber(totals[3])) / (now - since))) end
end

sample_backlogs()

-- Waiting jobs of batches that were cancelled or moved. One chunk in a call, for each of its jobs takes long.
while left > 0 do
  local batch = call('ZRANGE', SWEEPS, 0, 0)[1]
  if not batch then break end
  local chunk = math.min(left, SWEPT_AT_ONCE)
  local swept = sweep(batch, chunk)
  left = swept == chunk and 0 or left - swept
end

local reply = {'1', '0', int(#dead)}
for _, worker in ipairs(dead) do reply[#reply + 1] = worker end
for _, lane in ipairs(call('ZRANGEBYSCORE', LANES, '-inf', int(now), 'LIMIT', 0, 1000)) do reply[#reply + 1] = lane end

for _, set in ipairs({LATER, EXPIRY, WORKERS, ENDED, OPEN, SPENT}) do sooner(set) end
-- Lanes that are due now are in this reply. Not more often than this, because many lanes may wait.
local lane = call('ZRANGEBYSCORE', LANES, '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if lane[1] then wait = math.min(wait, math.max(LANES_RECHECK_MS, tonumber(lane[2]) - now)) end
reply[2] = int(left > 0 and wait or 0)
return reply
