-- A worker says that it lives: registers it, or extends the lease of everything it holds.
--
-- ARGV[1]  worker      ARGV[2]  lease in ms      ARGV[3]  slots      ARGV[4]  facts about itself (JSON)
-- ARGV[5]  '1' when the worker believes that it is registered      ARGV[6]  format of jobs that it knows
-- Returns {'registered' | 'renewed' | 'lost', ms for which it has come to none of its messages although jobs were given to
-- it (or empty), then the ids of held jobs that were asked to stop}.
-- 'lost': the lease had run out and everything was taken away; the worker must drop its calls and register anew.
-- Atomic, because the reaper may be taking the worker's jobs.

local worker = ARGV[1]
run_without_memory()
local k = key('worker', worker)
local known = call('ZSCORE', WORKERS, worker)
if not known then
  -- What it held is still being put back in chunks: it may come back when that is done.
  if ARGV[5] == '1' or call('ZSCORE', DYING, worker) then return {'lost', ''} end
  call('HSET', k, 'slots', ARGV[3], 'facts', ARGV[4], 'format', ARGV[6], 'since', int(now))
  call('ZADD', ROOM, ARGV[3], worker)
  call('ZADD', WORKERS, int(now + tonumber(ARGV[2])), worker)
  call('PUBLISH', KICK, '')
  return {'registered', ''}
end
call('ZADD', WORKERS, int(now + tonumber(ARGV[2])), worker)
call('HSET', k, 'facts', ARGV[4])
local stalled = call('HGET', k, 'stalled')
local reply = {'renewed', stalled and int(now - tonumber(stalled)) or ''}
-- Named every time until the job is let go: the reply of one call may be lost.
for _, id in ipairs(call('SMEMBERS', key('stop', worker))) do reply[#reply + 1] = id end
return reply
