-- Ends a worker's hold on a job, or its claim: with a final state, or back into line. Then lets the next one go.
--
-- ARGV[1]  job id      ARGV[2]  token      ARGV[3]  'succeeded' | 'failed' | 'cancelled' | 'queued' | 'retrying'
-- ARGV[4]  what is known of the attempt (JSON without braces), or empty: no call can have been sent
-- ARGV[5]  '1' when the attempt counts
-- ARGV[6]  final: the ending (JSON without braces: "warnings":[...],"result" or "error");
--          back into line: ms to wait, or empty for at once
-- ARGV[7]  ms the lane shall cool down, or empty      ARGV[8]  random part of the next token
-- Returns {'stale'} when the token is not the job's any more: nothing was changed;
-- {'again'} when this very settlement was made before (its reply was lost, or the server forgot and remembered);
-- else {state, then the jobs that may go now: id, connection, token, worker}.
-- Atomic, so that a result, the counters and the freed allowance cannot part.
-- Invariant: a job becomes final once, by the holder of its current token.

local job = load(ARGV[1])
if not job or job.token ~= ARGV[2] then
  run_without_memory()
  call('HINCRBY', TOTALS, 'stale', 1)
  return {'stale'}
end
if job.place == 'end' then return {'again'} end
local state, lane = ARGV[3], job.lane
if job.place == 'claim' then
  if ARGV[4] == '' and (state == 'queued' or state == 'retrying') then
    -- Nobody began it (its message could not be published): it goes back as it was.
    state = job.state
  else
    -- It was begun, but the server died and forgot that (fsync: everysec).
    hold(job)
  end
end
release(job)
if ARGV[4] ~= '' then add_attempt(job, ARGV[4], ARGV[5] == '1') end
if ARGV[7] ~= '' then
  local k = key('lane', lane)
  local cool = math.max(now + tonumber(ARGV[7]), tonumber(call('HGET', k, 'cool') or '0'))
  call('HSET', k, 'cool', int(cool))
  tidy_lane(lane)
end
if state == 'queued' or state == 'retrying' then
  wait_again(job, state, ARGV[6] ~= '' and now + tonumber(ARGV[6]) or nil)
else
  finish(job, state, ARGV[6])
end

-- One slot is free: lanes that lack only a slot take turns at it, else this lane goes on.
local admitted = {}
local hungry = call('ZRANGE', HUNGRY, 0, 0)[1]
if hungry then
  admit(hungry, 1, ARGV[8], admitted)
  if call('ZSCORE', HUNGRY, hungry) then call('ZADD', HUNGRY, number_in_line(1), hungry) end
end
if #admitted == 0 and hungry ~= lane then admit(lane, 1, ARGV[8], admitted) end
local reply = {job.state}
for _, part in ipairs(admitted) do reply[#reply + 1] = part end
return reply
