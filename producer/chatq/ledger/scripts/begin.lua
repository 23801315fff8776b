-- A worker begins jobs: the claim of each becomes a hold under the worker's lease.
-- From here on its call may have been sent: an attempt whose worker dies now is `maybe_charged`.
--
-- ARGV: for each job three:
--   1  job id      2  token      3  worker
-- Returns for each job false when it is not this token's any more, or goes back because its lane cools down or its connection
-- is paused by now (drop the message), an error of its own, or
-- {request, connection that makes the call, model, attempts counted so far, ms since the first call, those of cool-downs
-- and pauses taken off, ms to let pass before the call, '1' when the connection stands in for the job's own, its batch or
-- empty, attempts made so far; and of a job that is traced: its traceparent, and the moments in ms from which on it waited to
-- go, when it was admitted, and when it began}.
-- Asking again with the same token gives the same answer: the reply of the first may have been lost.
-- A message that is refused also tells how far the worker has come with its queue: see `behind_until`.
-- Atomic, because the reaper may be taking a claim back.

local EACH = 3
-- What is the same for all jobs of a lane that one connection serves, and for those of a flow.
local stopped, blocked = {}, {}

-- What was learned since a job was admitted holds for it too.
local function is_stopped(job)
  local server = server_for(job)
  local both = job.lane .. SEPARATOR .. server
  if stopped[both] == nil then
    stopped[both] = tonumber(call('HGET', key('lane', job.lane), 'cool') or '0') > now
      or call('HEXISTS', PAUSED, server) == 1
  end
  return stopped[both]
end

local function begin(id, token, worker)
  local job = load(id)
  if not job or job.token ~= token or job.worker ~= worker then return false end
  if job.place ~= 'claim' and job.place ~= 'held' then return false end
  local wait = 0
  blocked[job.flow] = blocked[job.flow] or blocked_ms(job)
  if job.place == 'claim' then
    if is_stopped(job) then
      give_back(job)
      return false
    end
    hold(job, blocked[job.flow])
    wait = pace(job)
  end
  local model = job.via and rule('model:' .. job.via) or job.model
  local elapsed = now - tonumber(job.started)
  elapsed = math.max(0, elapsed - math.max(0, blocked[job.flow] - tonumber(job.blocked or '0')))
  local request = call('GETRANGE', key('entry', job.id), '-' .. job.bytes, -1)
  local reply = {request, server_for(job), model, job.counted or '0', int(elapsed), int(wait), job.via and '1' or '0',
    job.batch or '', job.made or '0'}
  if job.trace then
    local parts = {job.trace, job.since or job.due or job.created, job.admitted or job.begun, job.begun}
    for _, part in ipairs(parts) do reply[#reply + 1] = part end
  end
  return reply
end

run_without_memory()
local fences, counts = {}, {}
for i = 1, #ARGV, EACH do
  local fence, worker = fence_of(ARGV[i + 1]), ARGV[i + 2]
  fences[worker], counts[worker] = math.max(fence, fences[worker] or 0), (counts[worker] or 0) + 1
end
for worker, fence in pairs(fences) do note_messages(worker, fence, counts[worker]) end
return one_by_one(begin, EACH)
