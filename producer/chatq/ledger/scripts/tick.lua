-- What time does: the clock of every worker calls it about once a second, and only the leader's call acts.
--
-- ARGV[1]  worker      ARGV[2]  ms a leader may be silent      ARGV[3]  most jobs of each kind in this call
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

local wait = RECHECK_MS
local full = false

-- After a restart of the server no lease is judged before its worker could renew it.
if call('GET', P .. ':server') ~= ARGV[4] then
  if call('GET', P .. ':server') then
    local until_ms = int(now + tonumber(ARGV[5]))
    for _, worker in ipairs(call('ZRANGE', WORKERS, 0, -1)) do call('ZADD', WORKERS, 'XX', 'GT', until_ms, worker) end
    for _, id in ipairs(call('ZRANGEBYSCORE', CLAIMS, '-inf', int(now))) do
      call('ZADD', CLAIMS, 'XX', int(now + CLAIM_MS), id)
    end
  end
  call('SET', P .. ':server', ARGV[4])
end

-- Claims that ran out: the message was lost or late.
local ids = call('ZRANGEBYSCORE', CLAIMS, '-inf', int(now), 'LIMIT', 0, most)
for _, id in ipairs(ids) do
  local job = load(id)
  release(job)
  wait_again(job, job.state)
  call('HINCRBY', TOTALS, 'lost_claims', 1)
end
full = full or #ids == most

-- Workers whose lease ran out: no slots of theirs from now on; their jobs go back, in chunks.
local dead = {}
for _, worker in ipairs(call('ZRANGEBYSCORE', WORKERS, '-inf', int(now))) do
  call('ZREM', ROOM, worker)
  local held = call('SRANDMEMBER', key('held', worker), most)
  for _, id in ipairs(held) do lose(load(id)) end
  if #held == most then
    full = true
  else
    call('ZREM', WORKERS, worker)
    -- Claims of a dead worker end with it, not with their own time.
    for _, id in ipairs(call('ZRANGE', CLAIMS, 0, -1)) do
      local job = load(id)
      if job.worker == worker then
        release(job)
        wait_again(job, job.state)
      end
    end
    call('DEL', key('worker', worker), key('held', worker), key('stop', worker))
    dead[#dead + 1] = worker
  end
end

-- Jobs whose moment has come take their place in line.
ids = call('ZRANGEBYSCORE', LATER, '-inf', int(now), 'LIMIT', 0, most)
for _, id in ipairs(ids) do
  local job = load(id)
  call('ZREM', LATER, id)
  if is_cancelled(job) then finish_cancelled(job) else place_in_line(job) end
end
full = full or #ids == most

-- Jobs that were not started in time. A running one is left alone: expiry stops a job between attempts.
ids = call('ZRANGEBYSCORE', EXPIRY, '-inf', int(now), 'LIMIT', 0, most)
for _, id in ipairs(ids) do
  local job = load(id)
  if job.place == 'held' then
    call('ZREM', EXPIRY, id)
  else
    if job.place == 'claim' then release(job) else unplace(job) end
    finish_expired(job)
  end
end
full = full or #ids == most

-- What was kept for its time.
ids = call('ZRANGEBYSCORE', ENDED, '-inf', int(now), 'LIMIT', 0, most)
for _, entry in ipairs(ids) do
  if string.sub(entry, 1, 4) == 'job:' then
    forget(string.sub(entry, 5))
    call('ZREM', ENDED, entry)
  elseif forget_batch(string.sub(entry, 7), most) then
    call('ZREM', ENDED, entry)
  else
    full = true
  end
end
full = full or #ids == most

-- Cancelled batches, and jobs of them that wait: in chunks.
for _, batch in ipairs(call('SRANDMEMBER', SWEEPS, 4)) do full = sweep(batch, most) or full end

local reply = {'1', '0', int(#dead)}
for _, worker in ipairs(dead) do reply[#reply + 1] = worker end
for _, lane in ipairs(call('ZRANGEBYSCORE', LANES, '-inf', int(now), 'LIMIT', 0, 1000)) do reply[#reply + 1] = lane end

local function sooner(set)
  local first = call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[1] then wait = math.max(0, math.min(wait, tonumber(first[2]) - now)) end
end
if full then wait = 0 else for _, set in ipairs({LATER, EXPIRY, CLAIMS, WORKERS, ENDED}) do sooner(set) end end
reply[2] = int(wait)
return reply
