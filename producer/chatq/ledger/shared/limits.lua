
-- Rate limits of a lane: requests and tokens a minute, requests a UTC day.
--
-- An allowance is a bucket that refills continuously, kept as the generic cell rate algorithm keeps it (ITU-T I.371): as
-- one number, the moment at which the bucket is full again. Taking `cost` moves that moment by cost * interval; cost may
-- go when what is owed then still fits into the burst. A job larger than the bucket goes when the bucket is full, and
-- leaves a debt. Each allowance has two such numbers: `full` counts what was admitted, `sent` what was begun; messages
-- that bunch on their way to the workers are spread again just before their calls.
--
-- limits:<lane>, a hash that is kept for LIMITS_KEPT_MS after its last use, or until nothing is owed any more when nothing
-- was learned (callers may name any model); KIND being one of KINDS:
--   KIND.full, KIND.sent   the moments above, ms with a fraction
--   KIND.limit             a minute's allowance as the provider's answers tell it
--   KIND.capacity          the most that an answer said was left at once: the bucket is no smaller
--   KIND.refills           '1': answers showed that it refills continuously; '0': that it does not
--   day, day.used          the UTC day (since 1970) and what went in it; day.limit, as answers tell it
--   heard                  '1': an answer told limits; '0': answers came and told none
--   sizes, tokens          of the prompts answered so far: what the caller measured, what the provider counted
--   answers, answered      answers, and the tokens in them
--   rate, ceiling, since, cut   requests a minute found by trying: see `found_rate`; cut: when it was refused last
-- known:<account>, a sorted set: its lanes of which there is such a hash, by the day's first use

local KINDS = {'requests', 'tokens', 'input_tokens', 'output_tokens'}
local OWED = {day = true, ['day.used'] = true, ['requests.full'] = true, ['requests.sent'] = true, ['tokens.full'] = true,
  ['tokens.sent'] = true, ['input_tokens.full'] = true, ['input_tokens.sent'] = true, ['output_tokens.full'] = true,
  ['output_tokens.sent'] = true}
local LIMITS_KEPT_MS = 604800000
local MOST_KNOWN = 100          -- lanes of an account that are found again; callers may name any model
local MINUTE_MS = 60000
local DAY_MS = 86400000
local BURST_MS = 500            -- at once goes what refills in this time: half of the smallest bucket of any provider
local JITTER_MS = 15            -- more, before what needs a full bucket: there a hair too early is refused
local SIZE_OF_TOKEN = 3.5       -- bytes of a prompt in one token, until answers tell
local ANSWER_TOKENS = 512       -- of an answer, until answers tell: it counts as the first of them
local ENOUGH_ANSWERS = 500      -- beyond these what was learned fades
local ROUNDED_MS = 1500         -- resets come in whole seconds
local HAIR_MS = 0.001

local function milliseconds(n) return string.format('%.3f', n) end

local function account_of(lane)
  return string.sub(lane, 1, 1) == '@' and lane or string.match(lane, '^[^/]*')
end

-- Requests a minute of a provider that refuses and tells no limits, or has not told them yet, found by trying as TCP
-- finds its share: from `rate` up to the `ceiling` at which it refused last in a while, in a curve that is flat there
-- (CUBIC, RFC 9438), then on as it came; without a ceiling yet twice as fast every second. The recovery takes so many
-- calls that one refusal each is bearable, however slow the lane is. A source that will tell its limits with the first
-- answer is asked once, and then hardly more until that answer is there.
local FIRST_A_MINUTE, DOUBLES_MS = 60, 1000
local UNHEARD_A_MINUTE, UNHEARD_DOUBLES_MS = 12, 5000
local RECOVERY_CALLS, SHORTEST_RECOVERY_MS, LONGEST_RECOVERY_MS = 100, 20000, 300000
local BACK_OFF, FIRST_BACK_OFF = 0.85, 0.5
local FASTEST_A_MINUTE = 10000000

local function found_rate(s, unheard)
  local rate, past = tonumber(s.rate), math.max(0, now - tonumber(s.since))
  if not s.ceiling then
    return math.min(rate * 2 ^ (past / (unheard and UNHEARD_DOUBLES_MS or DOUBLES_MS)), FASTEST_A_MINUTE)
  end
  local ceiling = tonumber(s.ceiling)
  local recovery = math.min(math.max(RECOVERY_CALLS * MINUTE_MS / ceiling, SHORTEST_RECOVERY_MS), LONGEST_RECOVERY_MS)
  local x = past / recovery - 1
  return math.min(ceiling + (ceiling - rate) * x * x * x, FASTEST_A_MINUTE)
end

-- What the settings say of an account: concurrency, requests, tokens a minute, requests a day, whether its source tells limits,
-- whether its limits are for any 60 s; and whether any connection has a budget.
local known_stated = {}
local function limits_stated(account)
  local stated = known_stated[account]
  if not stated then
    stated = call('HMGET', RULES, 'concurrency:' .. account, 'requests_per_minute:' .. account, 'tokens_per_minute:' .. account,
      'requests_per_day:' .. account, 'tells_limits:' .. account, 'sliding:' .. account, 'budgets')
    known_stated[account] = stated
  end
  return stated
end

-- What the lane may ask: {state = the hash, concurrency, day_limit, buckets = {{kind, limit, interval, burst, full, sent}}};
-- and whether any connection has a budget: `budgeted`.
-- What the settings state holds; else what answers told; else, for requests, what trying found.
local function read_limits(lane)
  local account, s = account_of(lane), {}
  local flat = call('HGETALL', key('limits', lane))
  for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
  local stated = limits_stated(account)
  local limits = {state = s, lane = lane, concurrency = tonumber(stated[1] or nil),
    day_limit = tonumber(stated[4] or s['day.limit'] or nil), buckets = {}, unheard = stated[5] and not s.heard,
    budgeted = stated[7] ~= false}
  if tonumber(s.day or '0') ~= math.floor(now / DAY_MS) then
    s.day, s['day.used'], limits.first = int(math.floor(now / DAY_MS)), '0', true
  end
  for _, kind in ipairs(KINDS) do
    local is_stated = kind == 'requests' and stated[2] or kind == 'tokens' and stated[3]
    local limit = is_stated or s[kind .. '.limit'] or nil
    if kind == 'requests' and not limit then
      if not s.rate and limits.unheard then s.rate, s.since, limits.fresh = UNHEARD_A_MINUTE, int(now), true end
      if s.rate then limit, limits.tried = found_rate(s, limits.unheard), true end
    end
    if limit then
      limit = tonumber(limit)
      local interval = MINUTE_MS / limit
      local refills = s[kind .. '.refills'] ~= '0' and not stated[6]
      local known = refills and tonumber(s[kind .. '.capacity'] or '0') * interval - BURST_MS or 0
      local burst = BURST_MS
      if known > BURST_MS then
        burst = known
      else
        -- So that no minute, wherever it begins, has more than the limit.
        interval = interval * (1 + BURST_MS / MINUTE_MS)
      end
      limits.buckets[#limits.buckets + 1] = {kind = kind, limit = limit, interval = interval, burst = burst,
        is_stated = is_stated, full = tonumber(s[kind .. '.full'] or '0'), sent = tonumber(s[kind .. '.sent'] or '0')}
    end
  end
  return limits
end

local function are_limited(limits) return #limits.buckets > 0 or limits.day_limit ~= nil end

local function bucket_of(limits, kind)
  for _, bucket in ipairs(limits.buckets) do
    if bucket.kind == kind then return bucket end
  end
end

-- Whether there is more in a lane's hash than what is owed.
local function has_learned(state, fields)
  for name in pairs(state) do
    if not OWED[name] then return true end
  end
  for i = 1, #fields, 2 do
    if not OWED[fields[i]] then return true end
  end
  return false
end

local function save_limits(limits, ...)
  local fields = {'day', limits.state.day, 'day.used', limits.state['day.used'], ...}
  if limits.fresh then
    for _, part in ipairs({'rate', limits.state.rate, 'since', limits.state.since}) do fields[#fields + 1] = part end
  end
  for _, bucket in ipairs(limits.buckets) do
    local n = #fields
    fields[n + 1], fields[n + 2] = bucket.kind .. '.full', milliseconds(bucket.full)
    fields[n + 3], fields[n + 4] = bucket.kind .. '.sent', milliseconds(bucket.sent)
  end
  local k = key('limits', limits.lane)
  call('HSET', k, unpack(fields))
  local kept = LIMITS_KEPT_MS
  if not limits.day_limit and not has_learned(limits.state, fields) then
    kept = MINUTE_MS
    for _, bucket in ipairs(limits.buckets) do kept = math.max(kept, bucket.full - now, bucket.sent - now) end
  end
  call('PEXPIRE', k, int(kept))
  if limits.first then
    local known = key('known', account_of(limits.lane))
    call('ZADD', known, int(now), limits.lane)
    call('ZREMRANGEBYRANK', known, 0, -MOST_KNOWN - 1)
    call('PEXPIRE', known, LIMITS_KEPT_MS)
    limits.first = false
  end
end

-- What a call asks of each allowance. `size`: of its prompt as its caller measured it; `cap`: the longest answer that it
-- asks for, 0 for none. `door`: whether its source counts that cap at the door, rather than what came back.
local function need_of(limits, size, cap, door)
  local s = limits.state
  local sizes, answers = tonumber(s.sizes or '0'), tonumber(s.answers or '0')
  local input = math.ceil(sizes > 0 and size * tonumber(s.tokens) / sizes or size / SIZE_OF_TOKEN)
  local output = math.ceil((ANSWER_TOKENS + tonumber(s.answered or '0')) / (1 + answers))
  if cap > 0 and (door or output > cap) then output = cap end
  return {requests = 1, tokens = input + output, input_tokens = input, output_tokens = output}
end

local function wait_of(bucket, moment, cost)
  local ms = cost * bucket.interval
  local late = ms + JITTER_MS > bucket.burst + BURST_MS and JITTER_MS or 0
  local owed = math.max(bucket[moment] + late - now, 0)
  local room = math.max(bucket.burst - ms, 0)
  return owed > room + HAIR_MS and owed - room or 0
end

-- Milliseconds until all allowances are there for `need`, and which is the last. 0: now.
local function wait_for(limits, need)
  if limits.day_limit and tonumber(limits.state['day.used']) >= limits.day_limit then
    return DAY_MS - now % DAY_MS, 'requests_day'
  end
  local wait, last = 0, nil
  for _, bucket in ipairs(limits.buckets) do
    local ms = wait_of(bucket, 'full', need[bucket.kind])
    if ms > wait then wait, last = ms, bucket.kind end
  end
  return wait, last
end

local function take(limits, need)
  limits.state['day.used'] = int(tonumber(limits.state['day.used']) + 1)
  for _, bucket in ipairs(limits.buckets) do
    bucket.full = math.max(bucket.full, now) + need[bucket.kind] * bucket.interval
  end
end

-- What a job has reserved, as its hash keeps it: input and output tokens.
local function reserved_of(job)
  local input, output = string.match(job.reserved, '^(%d+):(%d+)$')
  input, output = tonumber(input), tonumber(output)
  return {requests = 1, tokens = input + output, input_tokens = input, output_tokens = output}
end

-- Moves the buckets by what was taken too much (below zero) or too little. What would have been full earlier than now is
-- full now: a refund never saves up. `lost`: what of it was reserved in vain: meanwhile a small bucket was full and took
-- no more, so given back now it would be taken twice.
local function correct(limits, difference, was_sent, lost)
  for _, bucket in ipairs(limits.buckets) do
    local by = (difference[bucket.kind] or 0) * bucket.interval
    if lost and bucket.burst == BURST_MS then by = by + (lost[bucket.kind] or 0) * bucket.interval end
    if by ~= 0 then
      bucket.full = (by > 0 and math.max(bucket.full, now) or bucket.full) + by
      if was_sent then bucket.sent = (by > 0 and math.max(bucket.sent, now) or bucket.sent) + by end
    end
  end
end

-- Gives back all that a job had reserved: its call was not made.
local function refund(job, was_sent)
  if not job.reserved then return end
  local limits, need = read_limits(job.lane), reserved_of(job)
  for kind, cost in pairs(need) do need[kind] = -cost end
  correct(limits, need, was_sent)
  limits.state['day.used'] = int(math.max(0, tonumber(limits.state['day.used']) - 1))
  save_limits(limits)
end

-- Milliseconds that a worker which begins a job now shall let pass before its call.
local function pace(job)
  if not job.reserved then return 0 end
  local limits, need, wait = read_limits(job.lane), reserved_of(job), 0
  for _, bucket in ipairs(limits.buckets) do wait = math.max(wait, wait_of(bucket, 'sent', need[bucket.kind])) end
  wait = math.ceil(wait)
  for _, bucket in ipairs(limits.buckets) do
    bucket.sent = math.max(bucket.sent, now + wait) + need[bucket.kind] * bucket.interval
  end
  save_limits(limits)
  return wait
end

-- Learns from what an answer tells of one allowance. `begun`: the moment of its call, for which it was counted.
-- `cost`: of this call, and about that of each of the `others` under way: nothing, or not in these terms, was counted
-- before there was this limit to keep.
local function learn_limit(limits, fields, kind, limit, left, window, reset, begun, cost, others) -- seldom
  local s = limits.state
  local function learned(name, value) s[name], fields[#fields + 1], fields[#fields + 2] = value, name, value end
  if window >= DAY_MS then
    if kind == 'requests' and window == DAY_MS and limit then
      learned('day.limit', int(limit))
      -- Until its reset was far enough away to tell, it passed for a minute's.
      if tonumber(s['requests.limit'] or '0') == limit then
        call('HDEL', key('limits', limits.lane), 'requests.limit', 'requests.capacity', 'requests.refills')
      end
      s['day.used'] = int(math.max(tonumber(s['day.used']), limit - (left or limit)))
    end
    return
  end
  if not limit or limit <= 0 then return end
  local a_minute = limit * MINUTE_MS / window
  local known = tonumber(s[kind .. '.limit'] or '0')
  local is_new = math.abs(known - a_minute) > 0.001
  local bucket = bucket_of(limits, kind)
  if is_new then
    if bucket and not bucket.is_stated then
      local by = MINUTE_MS / a_minute / bucket.interval
      bucket.full, bucket.sent = now + (bucket.full - now) * by, now + (bucket.sent - now) * by
    end
    learned(kind .. '.limit', milliseconds(a_minute))
    learned(kind .. '.capacity', '0')
  end
  if not left then return end
  if reset and left < limit then
    -- A bucket that refills is full again when what is missing has come back, or sooner when it is small.
    local refilled = (limit - left) / limit * window
    learned(kind .. '.refills', reset <= refilled + math.max(ROUNDED_MS, refilled / 4) and '1' or '0')
  end
  local capacity = math.max(tonumber(s[kind .. '.capacity'] or '0'), left)
  learned(kind .. '.capacity', int(capacity))
  if s[kind .. '.refills'] ~= '0' then
    -- Others use the account too, or our estimates were low: no less is owed than the provider says.
    local owed = capacity - left + (is_new and cost + math.min(left, cost * others) or 0)
    local owed_until = begun + owed * MINUTE_MS / a_minute
    if bucket then
      bucket.full, bucket.sent = math.max(bucket.full, owed_until), math.max(bucket.sent, owed_until)
    else
      learned(kind .. '.full', milliseconds(owed_until))
      learned(kind .. '.sent', milliseconds(owed_until))
    end
  end
end

-- Ends a job's use of its lane's allowances.
--
-- `used`: 'INPUT:OUTPUT:PROMPT:ANSWER', the tokens that its source counts against its limits, then those that the answer
-- says it had; empty: not known, all that was reserved was used; '-': no call was made.
-- `told`: what the answer tells of limits, 'KIND LIMIT LEFT WINDOW RESET;' each, '-' for what it does not tell; windows and
-- resets in ms. `answered`: whether an answer came that was no refusal for a limit.
local function settle_limits(job, used, told, answered)
  if used == '-' then refund(job, true) end
  if not job.reserved and told == '' and not limits_stated(account_of(job.lane))[5] then return end
  local limits = read_limits(job.lane)
  local s, fields, changed = limits.state, {}, false
  local typical = job.reserved and reserved_of(job) or {requests = 1}
  if job.reserved and used ~= '' and used ~= '-' then
    local input, output, prompt, answer = string.match(used, '^(%d+):(%d+):(%d+):(%d+)$')
    input, output, prompt, answer = tonumber(input), tonumber(output), tonumber(prompt), tonumber(answer)
    local door = rule('door:' .. (job.via or job.connection)) ~= false
    local need, lost = need_of(limits, tonumber(job.size or '0'), tonumber(job.cap or '0'), door), {}
    -- Of this much it has been learned since that it need not have been reserved.
    for kind, cost in pairs(typical) do lost[kind] = math.max(0, cost - need[kind]) end
    correct(limits, {tokens = input + output - typical.tokens, input_tokens = input - typical.input_tokens,
      output_tokens = output - typical.output_tokens}, true, lost)
    local answers = tonumber(s.answers or '0')
    local kept = answers >= ENOUGH_ANSWERS and 0.5 or 1
    local function add(name, amount)
      fields[#fields + 1], fields[#fields + 2] = name, milliseconds(tonumber(s[name] or '0') * kept + amount)
    end
    if prompt > 0 then
      add('sizes', tonumber(job.size or '0'))
      add('tokens', prompt)
      add('answers', 1)
      add('answered', answer)
    end
    changed = true
  end
  local others = tonumber(call('HGET', key('lane', job.lane), 'inflight') or '1') - 1
  for kind, limit, left, window, reset in string.gmatch(told, '(%S+) (%S+) (%S+) (%S+) (%S+);') do
    learn_limit(limits, fields, kind, tonumber(limit), tonumber(left), tonumber(window), tonumber(reset),
      tonumber(job.begun), typical[kind] or 0, others)
    changed = true
  end
  local heard = told ~= '' and '1' or answered and limits.unheard and '0' or nil
  if heard and heard ~= s.heard then
    fields[#fields + 1], fields[#fields + 2] = 'heard', heard
    -- More may go now than the clock waits for.
    call('PUBLISH', KICK, job.lane)
    changed = true
    if not s.cut then
      -- It was only feeling its way until now.
      call('HDEL', key('limits', limits.lane), 'rate', 'since')
      limits.fresh = false
    end
  end
  if changed then save_limits(limits, unpack(fields)) end
end

-- A call that began at `begun` was refused for a limit: nothing goes before `cool`, and then a burst comes back first, so
-- that calls set in at their rate and not all at once, with room for estimates that are a little low.
local function slow_down(lane, begun, cool)
  local limits, fields = read_limits(lane), {}
  local s = limits.state
  local function set(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  local first = bucket_of(limits, 'requests')
  if (not first or limits.tried) and begun >= tonumber(s.since or '0') then
    -- Refusals of calls that had begun before the last cool-down was over say nothing new.
    local was = limits.tried and first.limit or FIRST_A_MINUTE / FIRST_BACK_OFF
    limits.fresh = false
    set('rate', milliseconds(math.max(1, was * (s.ceiling and BACK_OFF or FIRST_BACK_OFF))))
    if limits.tried then
      local ceiling = tonumber(s.ceiling or '0')
      set('ceiling', milliseconds(math.max(1, was < ceiling and was * (1 + BACK_OFF) / 2 or was)))
    end
    set('since', int(cool))
    set('cut', int(now))
  end
  local empty = cool + BURST_MS
  for _, bucket in ipairs(limits.buckets) do
    if tonumber(s[bucket.kind .. '.capacity'] or '0') > 0 then
      -- It was not so large, or is empty: either way what it owes is counted anew.
      bucket.full, bucket.sent = empty, empty
      set(bucket.kind .. '.capacity', '0')
      if s[bucket.kind .. '.refills'] ~= '1' then set(bucket.kind .. '.refills', '0') end
    else
      bucket.full, bucket.sent = math.max(bucket.full, empty), math.max(bucket.sent, empty)
    end
  end
  save_limits(limits, unpack(fields))
end
