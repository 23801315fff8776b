-- Moves what is not final of a batch to another connection. Nothing of it goes elsewhere from this moment on; its waiting
-- jobs are moved in chunks, by further calls or by the clock; a job in flight ends where it is, or follows when it comes back.
--
-- ARGV[1]  batch id      ARGV[2]  connection      ARGV[3]  model      ARGV[4]  most jobs to move in this call
-- Returns 'unknown', 'ended', 'cancelled' (nothing was done), 'more' (call again, or leave the rest to the clock) or 'done'.
-- Atomic, because jobs of the batch may be going and coming back at the same moment.
--
-- In the batch's hash: to, to_model; moves (their number; a job's `moved` is the last that it followed, so that what is
-- enqueued after a move goes where it says); moving ('1' until all that waited was moved).

local k, most = key('batch', ARGV[1]), tonumber(ARGV[4])
run_without_memory()
local over = batch_is_over(ARGV[1])
if over then return over end
local b = call('HMGET', k, 'moving', 'to', 'to_model')
if not b[1] or b[2] ~= ARGV[2] or b[3] ~= ARGV[3] then
  call('HINCRBY', k, 'moves', 1)
  call('HSET', k, 'moving', '1', 'to', ARGV[2], 'to_model', ARGV[3], 'swept', '0')
  call('ZADD', SWEEPS, int(now), ARGV[1])
  move_flows(call('SMEMBERS', k .. ':flows'))
end
local reply = sweep(ARGV[1], most) == most and 'more' or 'done'
call('PUBLISH', KICK, '')
return reply
