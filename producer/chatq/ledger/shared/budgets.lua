
-- Budgets: what may be spent, of a connection a UTC day in dollars, of a batch in all in dollars and in tokens.
--
-- A call that counts against a budget has its share reserved when it is admitted: the input as it is estimated, and the
-- longest answer that it asks for, or else a mean one, at the price of its model. When the call has ended, what it really
-- took is counted in place of that. Dollars are kept as billionths of one.
--
-- In the hash of each connection and of each batch:
--   prompt_tokens, answer_tokens, cost, uncosted   of the answers: tokens, cost, and how many there are whose cost nobody knows
--   held_tokens, held_cost   what calls under way have reserved
--   lost_tokens, lost_cost   what was reserved by calls that may have been charged, and nobody knows how much
-- Of a connection: day, day_cost   the UTC day (since 1970), and what was spent in it, with what may have been
-- Of a batch: max_cost, max_tokens   its budgets; used_up ('cost' or 'tokens': for want of it, it is paused), needs (how much
--   of it there would have to be for its next job)
-- In the hash of a job: charge   what it has reserved, 'TOKENS:COST'
-- prices, a hash: by connection and model what a call, a token of a prompt and one of an answer cost, 'CALL:PROMPT:ANSWER', or
--   '-' when nobody knows; it is told by the leading worker (`tell_prices`), who is asked through the set wanted-prices
-- budgeted, a set: the batches that have a budget and have not ended

local BUDGETED, PRICES, WANTED_PRICES = P .. ':budgeted', P .. ':prices', P .. ':wanted-prices'
local PRICES_KEPT_MS = 600000      -- some go by the hour of the day

local function today() return math.floor(now / DAY_MS) end

-- What a connection spent today.
local function spent_today(day, cost) return tonumber(day or '0') == today() and tonumber(cost or '0') or 0 end

-- The budgets that calls of a connection, for jobs of a batch if it is given, count against: {name (as settings and callers
-- write it), kind ('cost' or 'tokens'), limit, spent, held}.
local function budgets_of(connection, batch)
  write_sums()
  local found = {}
  local function add(name, kind, limit, spent, held)
    if limit then
      found[#found + 1] = {name = name, kind = kind, limit = tonumber(limit), spent = spent, held = tonumber(held or '0')}
    end
  end
  local a_day = rule('budget:' .. connection)
  if a_day then
    local c = call('HMGET', key('connection', connection), 'day', 'day_cost', 'held_cost')
    add('per_day_usd', 'cost', a_day, spent_today(c[1], c[2]), c[3])
  end
  if not batch then return found end
  local b = call('HMGET', key('batch', batch), 'max_cost', 'max_tokens', 'cost', 'lost_cost', 'prompt_tokens',
    'answer_tokens', 'lost_tokens', 'held_cost', 'held_tokens')
  local function sum(...)
    local total = 0
    for _, i in ipairs({...}) do total = total + tonumber(b[i] or '0') end
    return total
  end
  add('max_cost', 'cost', b[1], sum(3, 4), b[8])
  add('max_tokens', 'tokens', b[2], sum(5, 6, 7), b[9])
  return found
end

-- Why a job can never go: as `error_fragment` takes it.
local function unpriced(connection)
  return {'unknown_price', 'Nobody knows what a call of this model costs on connection ' .. connection
    .. ', and a budget in dollars counts it.',
    'Give the connection a price (input_per_million, output_per_million) in config.yaml, or enqueue the job where no'
    .. ' budget counts it.'}
end

local function over_a_day(connection, cost, limit)
  local function in_dollars(billionths)    -- in the form of `contract/dollars.py`
    local small = billionths > 0 and billionths < 1e5
    return '$' .. string.gsub(string.format(small and '%.9f' or '%.4f', billionths / 1e9), small and '0+$' or '0?0$', '')
  end
  return {'over_budget', string.format('The job needs about %s; connection %s may spend %s in a whole day.',
    in_dollars(cost), connection, in_dollars(limit)),
    'Shorten the prompt or lower max_tokens, or raise budget.per_day_usd of the connection.'}
end

-- What the first job of a flow would take of its budgets: {tokens, cost, connection, batch}; nil when it has none. Beside that what stands in
-- its way, if anything does: `waits` ('budget': calls under way have reserved the rest, in `by`; 'price': not known yet,
-- that of `wants`), `over` (the budget that does not have as much), or `refusal` (it can never go).
local function charge_of(limits, flow, server) -- seldom
  local _, connection, model, group = flow_parts(flow)
  server = server or connection
  if server ~= connection then model = rule('model:' .. server) or model end
  local batch = batch_of(group)
  local budgets = budgets_of(server, batch)
  if #budgets == 0 then return nil end
  local job = load(call('ZRANGE', key(LINES, flow), 0, 0)[1])
  local need = need_of(limits, tonumber(job.size or '0'), tonumber(job.cap or '0'), true)
  local charge = {tokens = need.tokens, cost = 0, connection = server, batch = batch}
  for _, budget in ipairs(budgets) do
    if budget.kind == 'cost' and charge.cost == 0 then
      local wants = server .. SEPARATOR .. model
      local price = call('HGET', PRICES, wants)
      if not price then
        charge.waits, charge.wants = 'price', wants
        return charge
      end
      local a_call, prompt, answer = string.match(price, '^(.*):(.*):(.*)$')
      if not a_call then
        charge.refusal = unpriced(server)
        return charge
      end
      charge.cost = math.ceil(tonumber(a_call) + need.input_tokens * tonumber(prompt) + need.output_tokens * tonumber(answer))
    end
  end
  for _, budget in ipairs(budgets) do
    local share = charge[budget.kind]
    if budget.spent + share > budget.limit then
      if budget.name == 'per_day_usd' and share > budget.limit then
        charge.refusal = over_a_day(server, share, budget.limit)
      else
        -- Waiting for another budget would not help.
        charge.over, charge.needs, charge.waits = budget, budget.spent + share, nil
      end
      return charge
    end
    if budget.spent + budget.held + share > budget.limit then charge.waits, charge.by = charge.waits or 'budget', budget end
  end
  return charge
end

-- Stops what a budget does not have enough for: a connection until the day turns, a batch until somebody raises it.
local function use_up(charge) -- seldom
  if charge.over.name == 'per_day_usd' then
    call('ZADD', SPENT, int((today() + 1) * DAY_MS), charge.connection)
    move_flows(all_flows())
  else
    local k = key('batch', charge.batch)
    call('HSET', k, 'used_up', charge.over.kind, 'needs', int(charge.needs))
    call('HSETNX', k, 'paused', int(now))
    move_flows(call('SMEMBERS', k .. ':flows'))
  end
end

-- Gives a batch budgets; an empty one stays as it is.
local function set_budgets(batch, max_cost, max_tokens)
  for name, budget in pairs({max_cost = max_cost, max_tokens = max_tokens}) do
    if budget ~= '' then
      call('HSET', key('batch', batch), name, budget)
      call('SADD', BUDGETED, batch)
    end
  end
end

-- Counts for a connection, and for a batch if it is given: names and amounts.
local function add_to(connection, batch, ...)
  local fields = {...}
  for _, k in ipairs({key('connection', connection), batch and key('batch', batch) or nil}) do
    for i = 1, #fields, 2 do
      add_up(k, fields[i], tonumber(fields[i + 1]))
    end
  end
end

-- Reserves a charge. Returns it as the job's hash keeps it.
local function reserve(charge)
  add_to(charge.connection, charge.batch, 'held_tokens', charge.tokens, 'held_cost', charge.cost)
  return int(charge.tokens) .. ':' .. int(charge.cost)
end

-- Ends what a job has reserved, and counts what its call took.
--
-- `spent`: what an answer used and cost, 'PROMPT:ANSWER:COST' in tokens and billionths of a dollar ('-': nobody knows);
-- '?': it may have been charged, and nobody knows how much, so what was reserved counts; empty: nothing was.
local function spend(job, spent)
  local server = server_for(job)
  local tokens, cost = string.match(job.charge or '0:0', '^(%d+):(%d+)$')
  if job.charge then add_to(server, job.batch, 'held_tokens', -tokens, 'held_cost', -cost) end
  job.charge = nil
  if spent == '' then return end
  local prompt, answer, paid = string.match(spent, '^(%d+):(%d+):(%S+)$')
  if prompt then
    local known = paid ~= '-'
    add_to(server, job.batch, 'prompt_tokens', prompt, 'answer_tokens', answer, known and 'cost' or 'uncosted',
      known and paid or 1)
    if prompt + answer > 0 then tokens = 0 end
    if known then cost = 0 end
  end
  add_to(server, job.batch, 'lost_tokens', tokens, 'lost_cost', cost)
  local paid_or_lost = cost + (tonumber(paid or '0') or 0)
  if paid_or_lost == 0 then return end
  local k, day = key('connection', server), int(today())
  if call('HGET', k, 'day') ~= day then call('HSET', k, 'day', day, 'day_cost', '0') end
  add_up(k, 'day_cost', paid_or_lost)
end

-- What a connection has spent, as names and values; dollars in billionths.
local function spending_of(connection)
  local facts = {}
  local function tell(name, value)
    if value then facts[#facts + 1], facts[#facts + 2] = name, value end
  end
  local names = {'prompt_tokens', 'answer_tokens', 'cost', 'uncosted', 'lost_cost', 'held_cost', 'day', 'day_cost'}
  local c = call('HMGET', key('connection', connection), unpack(names))
  for i = 1, 6 do tell(names[i], c[i]) end
  if c[7] == int(today()) then tell('day_cost', c[8]) end
  tell('per_day', rule('budget:' .. connection))
  tell('goes_on', call('ZSCORE', SPENT, connection))
  return facts
end
