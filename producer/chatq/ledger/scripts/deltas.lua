-- What was told of a job's answer, from a position on.
--
-- ARGV[1]  job id      ARGV[2]  position: how many deltas were read before      ARGV[3]  most bytes of one reply, about
-- Returns false when the job is unknown, else {next position, '1' when no more will come, deltas (JSON) ...}.
-- Atomic, so that a job that has become final is seen with the last that was told of it.

local AT_ONCE = 500
if not is_known(ARGV[1]) then return false end
local place = call('HGET', key('job', ARGV[1]), 'place')
local position, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local deltas, bytes = call('LRANGE', key('deltas', ARGV[1]), int(position), int(position + AT_ONCE - 1)), 0
local reply = {'', '0'}
for _, delta in ipairs(deltas) do
  if bytes >= most then break end
  bytes = bytes + #delta
  reply[#reply + 1] = delta
end
local read = #reply - 2
reply[1] = int(position + read)
if place == 'end' and read == #deltas and read < AT_ONCE then reply[2] = '1' end
return reply
