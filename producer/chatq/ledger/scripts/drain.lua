-- A worker takes no more jobs: what it was given and has not begun goes back at once; what it holds it may end.
-- With ARGV[2] = '1' it leaves for good: what it still holds is taken as lost, and its traces go.
--
-- ARGV[1]  worker      ARGV[2]  '1' to leave      ARGV[3]  most jobs to put back in this call
-- Returns the number of jobs put back; call again while it equals the most.
-- Atomic, because the worker's messages may be beginning at the same moment: each either began before, or is refused.

local worker, most = ARGV[1], tonumber(ARGV[3])
local leaves = ARGV[2] == '1'
call('ZREM', ROOM, worker)
call('ZREM', STALLED, worker)
call('HDEL', key('worker', worker), 'stalled')
local count = evacuate(worker, most, leaves)
local led = leaves and call('HGET', LEADER, 'worker') == worker
if led then call('DEL', LEADER) end
-- Others take over what it gave back, and the clock, at once.
if count > 0 or led then call('PUBLISH', KICK, '') end
return count
