-- The leading worker publishes the settings that scripts and callers read.
--
-- ARGV[1]  digest of the settings      ARGV[2]  the settings without secrets (JSON)      ARGV[3..]  rules: name, value
-- Rules: `account:<connection>` (a name, or @scope), `concurrency:<account>`, `on_worker_lost:<connection>`, `keep_ms`.
-- Returns 1 when they were new, 0 when the same were published already.
-- Atomic, because flows whose lane is another by the new rules move there in the same moment.

local settings = P .. ':settings'
if call('HGET', settings, 'digest') == ARGV[1] then return 0 end
call('DEL', RULES)
for i = 3, #ARGV, 2 do call('HSET', RULES, ARGV[i], ARGV[i + 1]) end
call('HSET', settings, 'digest', ARGV[1], 'settings', ARGV[2])
call('HINCRBY', settings, 'version', 1)
for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
  for _, flow in ipairs(call('ZRANGE', key('flows', lane), 0, -1)) do
    local _, connection, model = flow_parts(flow)
    if lane_of(connection, model) ~= lane then
      call('ZREM', key('flows', lane), flow)
      open_flow(flow)
    end
  end
  tidy_lane(lane)
end
call('PUBLISH', KICK, '')
return 1
