-- Shared by the scripts. What a script uses of this file, and of the others of this folder, is put in front of it when it is
-- loaded (`ledger/script_text.py` says how these files have to be written for that).
--
-- KEYS[1]  the key prefix. All other keys are built from it (Redis Cluster is refused at connect).
-- Times are milliseconds since 1970, from Redis; durations are milliseconds; tokens and costs are whole numbers.
-- Lua numbers keep 14 digits when they become strings by themselves, so they are written with int().
-- A run-time error keeps earlier writes, so every script checks before its first write. Scripts that must work
-- while Redis is out of memory begin with a write that frees (release, unplace).
--
-- A job is in exactly one place, named in its hash (none: `later` when its entry says for when, else `line`; and no state:
-- `queued`, for what a million waiting jobs have in common need not be written a million times):
--   line   waiting: in line:<flow>, a sorted set by its number in line
--   later  waiting for a moment: in `later`, a sorted set by that moment
--   claim  given to a worker that has not begun: in claims:<worker>, a sorted set by the end of the claim
--   held   begun by a worker: in held:<worker>, a sorted set by that moment; it goes with the lease of that worker
--   end    final
--
-- A flow is what is served in order: priority, connection, model and (batch | tenant | "single"), in this order,
-- separated by the byte 31. Jobs of it that not every worker may take are a flow apart: with `format:N` after the group
-- those that only workers who know this format can read, with `lost` at its end those that may be what kills workers.
-- A lane is what a provider counts together.

local P = KEYS[1]
local SEPARATOR = '\31'
local CLAIM_MS = 3000
local CLAIMS_PER_WORKER = 500     -- messages under way to one worker: its Celery queue stays near empty
local FIRST_CLAIMS = 8             -- of them after it came to none for CLAIM_MS; one more for each that it comes to
local BEYOND_SLOTS = 8             -- calls a lane may always have in flight, so that no other can lock it out
local RECHECK_MS = 1000            -- a blocked lane is tried again by the clock, in case an event was lost
local LANES_RECHECK_MS = 20
local BEGIN_RECHECK_MS = 5
local WEIGHT_STEP = 1.3            -- one priority step
local MOST_ATTEMPTS_BYTES = 16384  -- of a record: some 80 of them
local SUSPECT = 2                  -- losses from which on a job may be what kills its workers
local ALONE = 3                    -- losses from which on no other such job runs beside it
local APART = 4                    -- losses from which on no job at all runs beside it
local SUSPECTS_PER_WORKER = 30
local CLOSED_MS = 3000             -- a worker that is being emptied gets nothing for so long after it was asked to be
local SWEPT_AT_ONCE = 100          -- waiting jobs of a batch that was cancelled or moved
local DELTAS_S = 600               -- what a caller was told of an answer can be read so long after its end
local ABANDONED_MS = 86400000      -- a batch that nothing came into for so long, and for its `keep`, is sealed

local function call(...) return redis.call(...) end

local function key(kind, name) return P .. ':' .. kind .. ':' .. name end
local LINES, LANES, LATER, DYING = 'line', P .. ':lanes', P .. ':later', P .. ':dying'
local WORKERS, ROOM, EXPIRY, ENDED = P .. ':workers', P .. ':room', P .. ':expiry', P .. ':ended'
-- As ROOM, of the workers that begin nothing of what they are given: see `stall`.
local STALLED = P .. ':stalled'
local HUNGRY, RULES, TOTALS, KICK = P .. ':hungry', P .. ':rules', P .. ':totals', P .. ':kick'
local SWEEPS, LEADER, OPEN = P .. ':sweeps', P .. ':leader', P .. ':open-batches'
local BATCHES = P .. ':batches'

local function int(n) return string.format('%.0f', n) end

local function read_clock()
  local time = call('TIME')
  local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  -- Only tests set it: milliseconds to add, or `=` and the moment itself.
  local shift = call('GET', P .. ':clock-offset')
  return shift and (tonumber(string.match(shift, '^=(.+)')) or ms + tonumber(shift)) or ms
end
local now = read_clock()

-- RFC 3339 in UTC with milliseconds. Days to a date: Howard Hinnant's civil_from_days.
local function rfc3339(ms)
  local seconds = math.floor(ms / 1000)
  local z = math.floor(seconds / 86400) + 719468
  local rest = seconds % 86400
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ"', year, month, day,
    math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, ms % 1000)
end

-- Counters that a script changes for many jobs, added up and written once, at its end. Whoever reads such a counter before
-- writes them first.
local sums = {}

local function add_up(k, field, amount)
  local fields = sums[k]
  if not fields then
    fields = {}
    sums[k] = fields
  end
  fields[field] = (fields[field] or 0) + amount
end

local function write_sums() -- ends add_up
  for k, fields in pairs(sums) do
    for field, amount in pairs(fields) do
      if amount ~= 0 then call('HINCRBY', k, field, int(amount)) end
    end
    sums[k] = nil
  end
end

-- Does something for each of many jobs, whose arguments stand in groups of `each`. What goes wrong with one is the reply to that
-- one alone.
local function one_by_one(act, each)
  local replies = {}
  for i = 1, #ARGV, each do
    local well, reply = pcall(act, unpack(ARGV, i, i + each - 1))
    if not well then reply = {err = type(reply) == 'table' and reply.err or 'ERR ' .. tostring(reply)} end
    replies[#replies + 1] = reply
  end
  return replies
end

-- How many workers hold a lease. (One that died alone stays among WORKERS until another takes the clock over.)
local function live_workers() return call('ZCOUNT', WORKERS, '(' .. int(now), '+inf') end

-- One of the rules that the settings give (see `publish`), false if they do not. The same all through a script, but in `publish`.
local known_rules = {}
local function rule(name)
  local value = known_rules[name]
  if value == nil then
    value = call('HGET', RULES, name)
    known_rules[name] = value
  end
  return value
end

local function json_moment(ms) return ms and rfc3339(tonumber(ms)) or 'null' end

-- What was enqueued: the string `entry` of a job, parts with the byte 30 after each, and then the request, which is what its
-- worker is to send (JSON, `bytes` long). One string, because each key, field and command takes its time when a million are
-- written. It is never changed, and is there as long as the job may be run.
-- What has become of the job since is in its hash, which overrules the entry. There is none as long as nothing has; of a final
-- job that cannot be run again there is nothing else.
local ENTRY = {'seq', 'created', 'moved', 'due', 'expires', 'flow', 'idem', 'custom', 'digest', 'bytes', 'cost', 'size', 'cap',
  'metadata', 'trace'}
local ENTRY_PARTS = '^' .. string.rep('([^\30]*)\30', #ENTRY)
local ENTRY_FRONT = 1024           -- bytes within which the parts mostly end; metadata and long names may make them longer

-- The parts of a flow: its priority, connection, model and group.
local function flow_parts(flow)
  local priority, connection, model, group = string.match(flow, '^(%d+)\31([^\31]*)\31([^\31]*)\31(.*)$')
  return tonumber(priority), connection, model, group
end

-- Whether there is a job of this id.
local function is_known(id) return call('EXISTS', key('entry', id), key('job', id)) > 0 end

-- The parts of a job's entry; none when there is none. A script may load hundreds of jobs, and a request has megabytes, so no
-- more of it is read than is in the way.
local function entry_parts(id)
  local front = ENTRY_FRONT
  while true do
    local entry = call('GETRANGE', key('entry', id), 0, int(front - 1))
    local parts = {string.match(entry, ENTRY_PARTS)}
    if parts[1] or #entry < front then return parts end
    front = front * 8
  end
end

-- A job: the parts of its entry that say something, the fields of its hash, and from its flow `connection`, `model`, and
-- `batch` or `tenant`.
local function load(id)
  local parts, values = entry_parts(id), call('HGETALL', key('job', id))
  if not parts[1] and not values[1] then return nil end
  local job = {id = id, state = 'queued'}
  for i, part in ipairs(parts) do
    if part ~= '' then job[ENTRY[i]] = part end
  end
  job.place = job.due and 'later' or 'line'
  for n = 1, #values, 2 do job[values[n]] = values[n + 1] end
  local _, connection, model, group = flow_parts(job.flow)
  local kind, name = string.match(group, '^(%l+):([^\31]*)')
  job.connection, job.model, job[kind or 'group'] = connection, model, name
  return job
end

-- The record that callers read, as JSON. Fragments of JSON are stored as they came and never decoded here.
local function record(job)
  local parts = {'{"id":"', job.id, '","connection":"', job.connection, '","state":"', job.state, '"'}
  local function add(...) for _, part in ipairs({...}) do parts[#parts + 1] = part end end
  if job.cancel and job.place ~= 'end' then add(',"cancel_requested":true') end
  add(',"attempts":[', job.attempts or '', '],"created_at":', json_moment(job.created), ',"started_at":', json_moment(job.started),
    ',"finished_at":', json_moment(job.finished))
  if job.batch then add(',"batch":"', job.batch, '"') end
  if job.custom then add(',"custom_id":', job.custom) end
  if job.retry_of then add(',"retry_of":"', job.retry_of, '"') end
  if job.tenant then add(',"tenant":"', (string.gsub(job.tenant, '["\\]', '\\%0')), '"') end
  if job.ending and job.ending ~= '' then add(',', job.ending) end
  if not (job.ending and string.find(job.ending, '"warnings":', 1, true) == 1) then add(',"warnings":[]') end
  add(',"metadata":', job.metadata or '{}', '}')
  return table.concat(parts)
end

-- Jobs by state, for the connection and for the batch; `retrying` counts as queued. The sum stays whole.
local function count_state(job, from, to)
  local connection = key('connection', job.connection)
  add_up(connection, from, -1)
  add_up(connection, to, 1)
  if not job.batch then return end
  local batch = key('batch', job.batch)
  add_up(batch, from, -1)
  add_up(batch, to, 1)
end

-- For scripts that must run while Redis is out of memory and cannot begin with a write that really frees:
-- after any write that could, Redis lets a script go on.
local function run_without_memory() call('DEL', P .. ':nothing') end
