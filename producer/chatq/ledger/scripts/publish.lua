-- The leading worker publishes the settings that scripts and callers read.
--
-- ARGV[1]  digest of the settings      ARGV[2]  the settings without secrets (JSON)      ARGV[3..]  rules: name, value
-- Rules, by account: `concurrency:`, `requests_per_minute:`, `tokens_per_minute:`, `requests_per_day:`, `tells_limits:`
-- (its source's answers tell limits), `sliding:` (its limits are for any 60 s). By connection: `account:` (a name, or @scope), `model:` (its default), `fallback:`
-- (connections, with spaces between), `door:` (its source counts the longest answer at the door), `on_worker_lost:`.
-- `budget:` (billionths of a dollar a UTC day). And `keep_ms`, and `connections`, their number.
-- Returns 1 when they were new, 0 when the same were published already.
-- Atomic, because flows whose lane is another by the new rules move there in the same moment; those of a connection that
-- is gone are parked until it is back.

local settings = P .. ':settings'
if call('HGET', settings, 'digest') == ARGV[1] then return 0 end
local flows, places = all_flows(), {}
table.sort(flows)
for i, flow in ipairs(flows) do places[i] = {lane_now(flow)} end
local before = call('HKEYS', RULES)
known_rules = {}
call('DEL', RULES)
for i = 3, #ARGV, 2 do
  call('HSET', RULES, ARGV[i], ARGV[i + 1])
  -- What failed before may have been mended.
  local connection = string.match(ARGV[i], '^account:(.*)')
  if connection then call('HDEL', key('connection', connection), 'works', 'misses') end
  if string.find(ARGV[i], '^fallback:') then call('HSET', RULES, 'fallbacks', '1') end
  if string.find(ARGV[i], '^budget:') then call('HSET', RULES, 'budgets', '1') end
end
-- What was counted of connections that are gone goes with them: else it would be kept for good.
for _, name in ipairs(before) do
  local connection = string.match(name, '^account:(.*)')
  if connection and call('HEXISTS', RULES, name) == 0 then call('DEL', key('metrics', connection)) end
end
-- Prices and budgets may be others; whoever has spent all of one is found anew.
call('DEL', PRICES, SPENT)
call('HSET', settings, 'digest', ARGV[1], 'settings', ARGV[2])
call('HINCRBY', settings, 'version', 1)
for i, flow in ipairs(flows) do
  local lane, server = lane_for(flow)
  if lane ~= places[i][1] or server ~= places[i][2] then
    take_flow(flow, places[i][1])
    put_flow(flow)
  end
end
-- A lane may wait for a moment of the old limits.
for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
  if call('EXISTS', key('flows', lane)) == 1 then call('ZADD', LANES, int(now), lane) else tidy_lane(lane) end
end
call('PUBLISH', KICK, '')
return 1
