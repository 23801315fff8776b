
-- Lanes and flows: what a provider counts together, and what is served in order within it.
--
-- A flow that has jobs in line is in one of three places: among the flows of its own lane; among those of a fallback's
-- lane, while its own connection is out of action (then `diverted` names the connection that serves it); or in `parked`,
-- while its connection or batch is paused and nobody stands in, its connection has spent its budget of the day (`spent`: until
-- when), its batch is being moved to another connection, or its connection was taken out of the settings.

local PAUSED, PARKED, DIVERTED, SPENT = P .. ':paused', P .. ':parked', P .. ':diverted', P .. ':spent'
local LONG_COOL_MS = 60000      -- a lane that cools for longer is out of action

local function lane_of(connection, model)
  local account = rule('account:' .. connection) or connection
  -- An account of the form @scope counts all its models together.
  if string.sub(account, 1, 1) == '@' then return account end
  return account .. '/' .. model
end

-- A fallback serves with its own model; one that has none, with that which the job names.
local function lane_of_fallback(connection, model)
  return lane_of(connection, rule('model:' .. connection) or model)
end

-- Whether the published settings have the connection; before the first were published nobody knows.
local function is_configured(connection)
  return rule('account:' .. connection) ~= false or not rule('connections')
end

-- Whether jobs of the lane are better served elsewhere: it cools down for long, or its breaker is open, or the one call
-- that is to prove it after a breaker or a pause is under way. A cool-down that was long is so to its end.
local function is_out(lane)
  local state = call('HMGET', key('lane', lane), 'cool', 'opened', 'out', 'window', 'probes')
  local cool = tonumber(state[1] or '0')
  if cool > now then return (state[2] or state[3]) ~= false or cool > now + LONG_COOL_MS end
  return state[4] == '1' and tonumber(state[5] or '0') > 0
end

-- Looks after a lane that may have nothing to do any more: without flows nobody need ask for it, and without
-- flows, calls in flight, a cool-down and failures to remember it is forgotten. (Not by a key's own time to live: a job
-- that came meanwhile would lose the lane's clock, and the count of calls in flight, with it.)
local function tidy_lane(lane) -- seldom
  if call('EXISTS', key('flows', lane)) == 1 then return end
  call('ZREM', HUNGRY, lane)
  local state = call('HMGET', key('lane', lane), 'inflight', 'cool', 'kept', 'out')
  local cool, kept, due = tonumber(state[2] or '0'), tonumber(state[3] or '0'), nil
  if cool > now then
    due = cool
  elseif state[4] and not is_out(lane) then
    due = now    -- its flows are to come home
  elseif kept > now then
    due = kept
  end
  if due then
    call('ZADD', LANES, int(due), lane)
  else
    call('ZREM', LANES, lane)
    if tonumber(state[1] or '0') <= 0 then call('DEL', key('lane', lane)) end
  end
end

-- The connection that serves a flow of `connection` now: itself, or the first of its fallbacks that can; nil when it is
-- paused and none can.
local function server_of(connection, model, lane)
  local paused = call('HEXISTS', PAUSED, connection) == 1
  if not paused and not is_out(lane) then return connection end
  for name in string.gmatch(rule('fallback:' .. connection) or '', '%S+') do
    if call('HEXISTS', PAUSED, name) == 0 and not call('ZSCORE', SPENT, name)
      and not is_out(lane_of_fallback(name, model)) then return name end
  end
  return not paused and connection or nil
end

local function batch_of(group) return string.match(group, '^batch:([^\31]*)') end

-- Where a flow is to be served now: lane and connection; nil when it is to be parked.
local function lane_for(flow)
  local _, connection, model, group = flow_parts(flow)
  local batch = batch_of(group)
  if batch then
    local b = call('HMGET', key('batch', batch), 'paused', 'moving', 'to', 'to_model')
    -- What is being moved goes nowhere else meanwhile.
    if b[1] or (b[2] and (connection ~= b[3] or model ~= b[4])) then return nil end
  end
  if not is_configured(connection) then return nil end
  local lane = lane_of(connection, model)
  local server = server_of(connection, model, lane)
  if not server or call('ZSCORE', SPENT, server) then return nil end
  if server ~= connection then lane = lane_of_fallback(server, model) end
  return lane, server, connection
end

-- Where a flow is: its lane, and the connection that serves it there; nil when it is parked or has no jobs.
local function lane_now(flow)
  local _, connection, model = flow_parts(flow)
  local server = call('HGET', DIVERTED, flow)
  local lane = server and lane_of_fallback(server, model) or lane_of(connection, model)
  if call('ZSCORE', key('flows', lane), flow) then return lane, server or connection end
end

local function take_flow(flow, lane)
  call('SREM', PARKED, flow)
  if not lane then return end
  call('ZREM', key('flows', lane), flow)
  call('HDEL', DIVERTED, flow)
  tidy_lane(lane)
end

-- Takes away a flow that has no jobs in line any more, or none that may go.
local function close_flow(flow) take_flow(flow, (lane_now(flow))) end

-- Puts a flow that has jobs where it is to be served; one that was empty enters at the lane's clock. Of those that
-- enter at the same moment the highest priority goes first: the tokens between them weigh nothing else.
local function put_flow(flow)
  local lane, server, connection = lane_for(flow)
  if not lane then
    call('SADD', PARKED, flow)
    return nil
  end
  local priority = flow_parts(flow)
  local clock = call('HGET', key('lane', lane), 'clock') or '0'
  call('ZADD', key('flows', lane), 'NX', int(tonumber(clock) + 9 - priority), flow)
  call('ZADD', LANES, int(now), lane)
  if server ~= connection then call('HSET', DIVERTED, flow, server) end
  return lane
end

-- Sees to it that a flow that has jobs is served. Returns its lane, nil when it is parked.
local function open_flow(flow)
  local lane = lane_now(flow)
  if not lane then return put_flow(flow) end
  call('ZADD', LANES, int(now), lane)
  return lane
end

-- Moves flows to where they are to be served by now. `flows` without jobs are left alone. (In an order of their own, so
-- that what comes of it does not depend on the server's.)
local function move_flows(flows)
  table.sort(flows)
  for _, flow in ipairs(flows) do
    local lane, server = lane_now(flow)
    if lane or call('SISMEMBER', PARKED, flow) == 1 then
      local to, by = lane_for(flow)
      if to ~= lane or by ~= server then
        take_flow(flow, lane)
        put_flow(flow)
      end
    end
  end
end

-- Every flow that is served anywhere, or parked.
local function all_flows()
  local flows = call('SMEMBERS', PARKED)
  for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
    for _, flow in ipairs(call('ZRANGE', key('flows', lane), 0, -1)) do flows[#flows + 1] = flow end
  end
  return flows
end

-- Looks whether a lane went out of action or came back; then flows go where they are to be served by now. What waited for
-- one that comes back may be anywhere.
local function review(lane) -- seldom
  local k, out = key('lane', lane), is_out(lane)
  if out == (call('HEXISTS', k, 'out') == 1) then return end
  if out then call('HSET', k, 'out', '1') else call('HDEL', k, 'out') end
  if not rule('fallbacks') then return end
  move_flows(out and call('ZRANGE', key('flows', lane), 0, -1) or all_flows())
end

-- The last of `count` new numbers. Jobs wait by them, and lanes for a slot: many of either come within a millisecond.
local function number_in_line(count) return call('INCRBY', P .. ':seq', count) end
