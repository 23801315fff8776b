-- Ends workers' holds on jobs, or their claims: each with a final state, or back into line. Then lets the next ones go.
--
-- ARGV: for each job fifteen:
--   1  job id      2  token      3  'succeeded' | 'failed' | 'cancelled' | 'queued' | 'retrying'
--   4  what is known of the attempt (JSON without braces), or empty: no call can have been sent
--   5  '1' when the attempt counts
--   6  for a final state, and of a job that streams for every one, its ending (JSON without braces: "warnings":[...],
--      "result" or "error"): one of which a part was told fails rather than go back
--   7  what the call tells of lane and connection: see `note_outcome`; where it says that the attempt was not the
--      job's own, the job goes back into line whatever its state was to be, and the attempt does not count
--   8  ms to wait when it goes back, or empty for at once      9  ms the lane shall cool down, or empty
--   10 tokens it used, 11 what its answer tells of limits: see `settle_limits`
--   12 why the connection pauses, if it does: JSON members code, message and remedy
--   13 random part of the tokens of the next ones
--   14 what the call used and cost, for the sums and budgets of its batch and of the connection that made it: see `spend`
--   15 ms that its call took, and ms that it had to wait before it to keep its lane's pace, 'CALL:PACED'; empty: it did
--      not end by itself, or there was none
-- Returns for each job {'stale'} when the token is not the job's any more: nothing was changed;
-- {'again'} when this very settlement was made before (its reply was lost, or the server forgot and remembered);
-- an error of its own; else {state, '1' when its connection is paused now, the ms that it waits at least if it goes back}.
-- The first of the last kind goes on with the jobs that may go now, as `admit` names them.
-- Atomic, so that a result, the counters and the freed allowance cannot part.
-- Invariant: a job becomes final once, by the holder of its current token.

local EACH = 15
-- The lanes whose calls ended, how many of each, and how many in all; the reply that goes on with the next jobs.
local lanes, ended, slots, first, nonce = {}, {}, 0, nil, nil

local function settle(id, token, state, facts, counts, ending, outcome, wait, cool, used, told, reason, random, spent, times)
  local job = load(id)
  if not job or job.token ~= token then
    add_up(TOTALS, 'stale', 1)
    return {'stale'}
  end
  if job.place == 'end' then return {'again'} end
  local lane, server, unbegun, counted = job.lane, server_for(job), false, counts == '1'
  if job.place == 'claim' then
    if facts == '' and (state == 'queued' or state == 'retrying') then
      -- Nobody began it (its message could not be published): it goes back as it was.
      state, unbegun = job.state, true
    else
      -- It was begun, but the server died and forgot that (fsync: everysec).
      hold(job)
    end
  end
  local due = wait ~= '' and now + tonumber(wait) or nil
  if not unbegun then
    local answered = outcome ~= '' and outcome ~= 'astray' and outcome ~= 'transient' and outcome ~= 'limited'
    settle_limits(job, used, told, answered)
    if outcome == 'astray' then call('HSET', key('job', job.id), 'astray', '1') end
    local own, behind = note_outcome(job, outcome, tonumber(cool ~= '' and cool or '0'), reason)
    if not own then
      state, counted = 'queued', false
      if behind then
        job.seq = int(number_in_line(1))
        call('HSET', key('job', job.id), 'seq', job.seq)
      end
      -- Behind a breaker, a cool-down or a pause the line itself waits, and the job in it.
      if outcome ~= 'transient' or tonumber(call('HGET', key('lane', lane), 'cool') or '0') > now then due = nil end
    end
    if facts ~= '' then add_attempt(job, facts, counted) end
    local called, paced = string.match(times, '^(%d+):(%d+)$')
    if called then
      count_times(server, 'call', tonumber(called), 'added', now - tonumber(job.begun) - called - paced)
    end
  end
  spend(job, spent)
  release(job)
  if state == 'queued' or state == 'retrying' then
    wait_again(job, state, due, ending)
    if job.place == 'later' then
      job.wait = int(due - now)
    elseif job.place == 'line' then
      job.wait = int(math.max(0, tonumber(call('HGET', key('lane', lane), 'cool') or '0') - now))
    end
  else
    finish(job, state, ending)
  end
  if not ended[lane] then lanes[#lanes + 1], ended[lane] = lane, 0 end
  slots, ended[lane], nonce = slots + 1, ended[lane] + 1, random
  local reply = {job.state, call('HEXISTS', PAUSED, server) == 1 and '1' or '0', job.wait or ''}
  first = first or reply
  return reply
end

run_without_memory()
local replies = one_by_one(settle, EACH)

-- So many slots are free: lanes that lack only a slot take turns at them, else the lanes go on that they were of.
local admitted = {}
local hungry = slots > 0 and call('ZRANGE', HUNGRY, 0, slots - 1) or {}
local turns, more, was_hungry = math.floor(slots / math.max(1, #hungry)), slots % math.max(1, #hungry), {}
local function take_turns(from, to, count)
  for i = from, to do
    local lane = hungry[i]
    admit(lane, count, nonce, admitted)
    if call('ZSCORE', HUNGRY, lane) then call('ZADD', HUNGRY, number_in_line(1), lane) end
    was_hungry[lane] = true
  end
end
-- Who has a turn more than others is behind them then.
take_turns(more + 1, #hungry, turns)
take_turns(1, more, turns + 1)
for _, lane in ipairs(lanes) do
  local left = slots - #admitted / ADMITTED
  if left > 0 and not was_hungry[lane] then admit(lane, math.min(left, ended[lane]), nonce, admitted) end
end
for _, part in ipairs(admitted) do first[#first + 1] = part end
return replies
