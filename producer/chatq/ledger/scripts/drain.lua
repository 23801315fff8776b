-- A worker takes no more jobs: what it was given and has not begun goes back at once; what it holds it may end.
-- With ARGV[2] = '1' it leaves for good: what it still holds is taken as lost, and its traces go.
--
-- ARGV[1]  worker      ARGV[2]  '1' to leave      ARGV[3]  most jobs to put back in this call
-- Returns the number of jobs put back; call again while it equals the most.
-- Atomic, because the worker's messages may be beginning at the same moment: each either began before, or is refused.

local worker, most, count = ARGV[1], tonumber(ARGV[3]), 0
call('ZREM', ROOM, worker)
for _, id in ipairs(call('ZRANGE', CLAIMS, 0, -1)) do
  if count >= most then return count end
  local job = load(id)
  if job.worker == worker then
    release(job)
    wait_again(job, job.state)
    count = count + 1
  end
end
if ARGV[2] == '1' then
  for _, id in ipairs(call('SRANDMEMBER', key('held', worker), most - count)) do
    lose(load(id))
    count = count + 1
  end
  if count < most then
    call('ZREM', WORKERS, worker)
    call('DEL', key('worker', worker), key('held', worker), key('stop', worker))
    if call('HGET', LEADER, 'worker') == worker then call('DEL', LEADER) end
  end
end
if count > 0 then call('PUBLISH', KICK, '') end
return count
