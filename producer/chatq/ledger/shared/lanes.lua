
-- Lanes and flows: what a provider counts together, and what is served in order within it.

local function lane_of(connection, model)
  local account = call('HGET', RULES, 'account:' .. connection) or connection
  -- An account of the form @scope counts all its models together.
  if string.sub(account, 1, 1) == '@' then return account end
  return account .. '/' .. model
end

local function flow_parts(flow)
  local fields, from = {}, 1
  for _ = 1, 3 do
    local at = string.find(flow, SEPARATOR, from, true)
    fields[#fields + 1] = string.sub(flow, from, at - 1)
    from = at + 1
  end
  return tonumber(fields[1]), fields[2], fields[3], string.sub(flow, from)
end

-- Looks after a lane that may have nothing to do any more: without flows nobody need ask for it, and without
-- flows, calls in flight and a cool-down it is forgotten. (Not by a key's own time to live: a job that came
-- meanwhile would lose the lane's clock, and the count of calls in flight, with it.)
local function tidy_lane(lane)
  if call('EXISTS', key('flows', lane)) == 1 then return end
  call('ZREM', HUNGRY, lane)
  local state = call('HMGET', key('lane', lane), 'inflight', 'cool')
  local cool = tonumber(state[2] or '0')
  if tonumber(state[1] or '0') > 0 then
    call('ZREM', LANES, lane)
  elseif cool > now then
    call('ZADD', LANES, int(cool), lane)
  else
    call('ZREM', LANES, lane)
    call('DEL', key('lane', lane))
  end
end

-- Puts a flow that has jobs among the flows of its lane; one that was empty enters at the lane's clock. Of those that
-- enter at the same moment the highest priority goes first: the tokens between them weigh nothing else.
local function open_flow(flow)
  local priority, connection, model = flow_parts(flow)
  local lane = lane_of(connection, model)
  local clock = call('HGET', key('lane', lane), 'clock') or '0'
  call('ZADD', key('flows', lane), 'NX', int(tonumber(clock) + 9 - priority), flow)
  call('ZADD', LANES, int(now), lane)
  return lane
end

-- The last of `count` new numbers. Jobs wait by them, and lanes for a slot: many of either come within a millisecond.
local function number_in_line(count) return call('INCRBY', P .. ':seq', count) end
