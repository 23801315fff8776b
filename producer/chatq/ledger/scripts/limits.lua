-- Reads what limits a connection's calls, and how much of it is used now. Changes nothing.
--
-- ARGV[1]  connection
-- Returns {why it is paused (JSON, or empty), what it has spent (see `spending_of`), then a flat list of names and values for each lane of its account: that of its
-- default model, those of which limits are kept, and those that have something to do}: lane, model (empty: all models count
-- together), inflight, and where it applies:
--   concurrency, cool (ms until which the provider asked to wait), breaker ('closed', 'open', 'half_open'), probe (ms of the
--   next), window (calls that may be in flight while they set in again)
--   bytes (of a prompt in one token), prompt, answer (tokens on average), learned from `answers`
--   KIND.set (by the settings), KIND.learned (from answers), KIND.found (by trying), KIND.holds: a minute's
--   KIND.used (what is owed now), KIND.burst (what may go at once), KIND.next, KIND.full (ms: when the next call of average
--   size may go, when nothing is owed any more)
--   requests_day.set, .learned, .holds, .used, .next (ms: when the day turns, if it is used up), .full (when it turns)
-- Atomic, so that the numbers are of one moment.

local account = account_of(lane_of_fallback(ARGV[1], ''))

local function facts_of(name)
  local facts = {}
  local function tell(field, value)
    if value then
      facts[#facts + 1], facts[#facts + 2] = field, type(value) == 'number' and milliseconds(value) or value
    end
  end
  local lane, condition = read_lane(name, math.huge), condition_of(name)
  local limits, s = lane.limits, lane.limits.state
  tell('lane', name)
  tell('model', string.sub(name, 1, 1) == '@' and '' or string.sub(name, #account + 2))
  tell('inflight', lane.inflight)
  tell('concurrency', limits.concurrency)
  tell('cool', condition.cool > 0 and condition.cool)
  tell('breaker', condition.breaker)
  tell('probe', condition.probe > 0 and condition.probe)
  tell('window', lane.window)
  local answers = tonumber(s.answers or '0')
  local need = need_of(limits, 0, 0, false)
  if answers > 0 then
    tell('bytes', tonumber(s.sizes) / math.max(1, tonumber(s.tokens)))
    tell('prompt', tonumber(s.tokens) / answers)
    tell('answer', tonumber(s.answered) / answers)
    tell('answers', answers)
    need.input_tokens = math.ceil(tonumber(s.tokens) / answers)
    need.tokens = need.input_tokens + need.output_tokens
  end
  for _, kind in ipairs(KINDS) do
    tell(kind .. '.set', rule(kind .. '_per_minute:' .. account) or nil)
    tell(kind .. '.learned', s[kind .. '.limit'])
    local bucket = bucket_of(limits, kind)
    if bucket then
      tell(kind .. '.found', kind == 'requests' and limits.tried and bucket.limit)
      tell(kind .. '.holds', bucket.limit)
      tell(kind .. '.used', math.max(0, bucket.full - now) / bucket.interval)
      tell(kind .. '.burst', math.max(1, bucket.burst / bucket.interval))
      tell(kind .. '.next', now + math.ceil(wait_of(bucket, 'full', math.min(need[kind], math.max(1, bucket.limit)))))
      tell(kind .. '.full', math.max(now, math.ceil(bucket.full)))
    end
  end
  tell('requests_day.set', rule('requests_per_day:' .. account) or nil)
  tell('requests_day.learned', s['day.limit'])
  if limits.day_limit then
    local used, turns = tonumber(s['day.used']), now + DAY_MS - now % DAY_MS
    tell('requests_day.holds', limits.day_limit)
    tell('requests_day.used', used)
    tell('requests_day.next', used >= limits.day_limit and turns or now)
    tell('requests_day.full', turns)
  end
  return facts
end

local reply, told = {call('HGET', PAUSED, ARGV[1]) or '', spending_of(ARGV[1])}, {}
local function tell_lane(lane)
  if not told[lane] then reply[#reply + 1] = facts_of(lane) end
  told[lane] = true
end
tell_lane(lane_of_fallback(ARGV[1], ''))
for _, lane in ipairs(call('ZREVRANGE', key('known', account), 0, -1)) do
  if call('EXISTS', key('limits', lane)) == 1 then tell_lane(lane) end
end
for _, lane in ipairs(call('ZRANGE', LANES, 0, -1)) do
  if account_of(lane) == account then tell_lane(lane) end
end
return reply
