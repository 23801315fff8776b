-- Ends a worker's hold on a job, or its claim: with a final state, or back into line. Then lets the next one go.
--
-- ARGV[1]  job id      ARGV[2]  token      ARGV[3]  'succeeded' | 'failed' | 'cancelled' | 'queued' | 'retrying'
-- ARGV[4]  what is known of the attempt (JSON without braces), or empty: no call can have been sent
-- ARGV[5]  '1' when the attempt counts
-- ARGV[6]  for a final state, and of a job that streams for every one, its ending (JSON without braces: "warnings":[...],
--          "result" or "error"): one of which a part was told fails rather than go back
-- ARGV[7]  what the call tells of lane and connection: see `note_outcome`; where it says that the attempt was not the
--          job's own, the job goes back into line whatever its state was to be, and the attempt does not count
-- ARGV[8]  ms to wait when it goes back, or empty for at once      ARGV[9]  ms the lane shall cool down, or empty
-- ARGV[10] tokens it used, ARGV[11] what its answer tells of limits: see `settle_limits`
-- ARGV[12] why the connection pauses, if it does: JSON members code, message and remedy
-- ARGV[13] random part of the next token
-- ARGV[14] what the call used and cost, for the sums and budgets of its batch and of the connection that made it: see `spend`
-- ARGV[15] ms that its call took, and ms that it had to wait before it to keep its lane's pace, 'CALL:PACED'; empty: it did
--          not end by itself, or there was none
-- Returns {'stale'} when the token is not the job's any more: nothing was changed;
-- {'again'} when this very settlement was made before (its reply was lost, or the server forgot and remembered);
-- else {state, '1' when its connection is paused now, the ms that it waits at least if it goes back, then the jobs that may
-- go now, as `admit` names them}.
-- Atomic, so that a result, the counters and the freed allowance cannot part.
-- Invariant: a job becomes final once, by the holder of its current token.

local job = load(ARGV[1])
if not job or job.token ~= ARGV[2] then
  run_without_memory()
  call('HINCRBY', TOTALS, 'stale', 1)
  return {'stale'}
end
if job.place == 'end' then return {'again'} end
run_without_memory()
local state, lane, outcome, counts = ARGV[3], job.lane, ARGV[7], ARGV[5] == '1'
local unbegun, server = false, server_for(job)
if job.place == 'claim' then
  if ARGV[4] == '' and (state == 'queued' or state == 'retrying') then
    -- Nobody began it (its message could not be published): it goes back as it was.
    state, unbegun = job.state, true
  else
    -- It was begun, but the server died and forgot that (fsync: everysec).
    hold(job)
  end
end
local due = ARGV[8] ~= '' and now + tonumber(ARGV[8]) or nil
if not unbegun then
  local answered = outcome ~= '' and outcome ~= 'astray' and outcome ~= 'transient' and outcome ~= 'limited'
  settle_limits(job, ARGV[10], ARGV[11], answered)
  if outcome == 'astray' then call('HSET', key('job', job.id), 'astray', '1') end
  local own, behind = note_outcome(job, outcome, tonumber(ARGV[9] ~= '' and ARGV[9] or '0'), ARGV[12])
  if not own then
    state, counts = 'queued', false
    if behind then
      job.seq = int(number_in_line(1))
      call('HSET', key('job', job.id), 'seq', job.seq)
    end
    -- Behind a breaker, a cool-down or a pause the line itself waits, and the job in it.
    if outcome ~= 'transient' or tonumber(call('HGET', key('lane', lane), 'cool') or '0') > now then due = nil end
  end
  if ARGV[4] ~= '' then add_attempt(job, ARGV[4], counts) end
  local called, paced = string.match(ARGV[15], '^(%d+):(%d+)$')
  if called then
    count_times(server, 'call', tonumber(called), 'added', now - tonumber(job.begun) - called - paced)
  end
end
spend(job, ARGV[14])
release(job)
if state == 'queued' or state == 'retrying' then
  wait_again(job, state, due, ARGV[6])
  if job.place == 'later' then
    job.wait = int(due - now)
  elseif job.place == 'line' then
    job.wait = int(math.max(0, tonumber(call('HGET', key('lane', lane), 'cool') or '0') - now))
  end
else
  finish(job, state, ARGV[6])
end

-- One slot is free: lanes that lack only a slot take turns at it, else this lane goes on.
local admitted = {}
local hungry = call('ZRANGE', HUNGRY, 0, 0)[1]
if hungry then
  admit(hungry, 1, ARGV[13], admitted)
  if call('ZSCORE', HUNGRY, hungry) then call('ZADD', HUNGRY, number_in_line(1), hungry) end
end
if #admitted == 0 and hungry ~= lane then admit(lane, 1, ARGV[13], admitted) end
local reply = {job.state, call('HEXISTS', PAUSED, server) == 1 and '1' or '0', job.wait or ''}
for _, part in ipairs(admitted) do reply[#reply + 1] = part end
return reply
