
-- What is counted of each connection for those who watch it: how long things took, and why they failed.
--
-- metrics:<connection>, a hash, kept while the settings have the connection:
--   TIME:BOUND         how many took at most BOUND ms, and more than the bound before it; the last is 'inf'
--   TIME:sum           ms that all of them took
--   job_failed:CODE    jobs that failed, by the code of their error      call_failed:CODE   calls, likewise
-- TIME being
--   line    of a job: from the moment from which it might go until a worker began it for the first time
--   call    of a call that ended by itself, as its worker timed it
--   added   of such a call: what there was around it from begin to settle, without what it waited to keep its lane's pace
-- The codes are ours, a fixed set. So a hash has some 100 fields at most. Only the one into which each falls is counted;
-- whoever reads them adds up.

local TIME_BOUNDS = {
  line = {100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 14400000, 86400000},
  call = {100, 250, 500, 1000, 2500, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000},
  added = {2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000},
}

-- Counts times of a connection: the name and the ms of each.
local function count_times(connection, ...)
  if not is_configured(connection) then return end
  local k, times = key('metrics', connection), {...}
  for i = 1, #times, 2 do
    local ms, within = math.max(0, times[i + 1]), 'inf'
    for _, bound in ipairs(TIME_BOUNDS[times[i]]) do
      if ms <= bound then
        within = int(bound)
        break
      end
    end
    add_up(k, times[i] .. ':' .. within, 1)
    add_up(k, times[i] .. ':sum', ms)
  end
end

-- `what`: 'job_failed' or 'call_failed'. `code`: nil where there is none.
local function count_failure(connection, what, code)
  if code and is_configured(connection) then add_up(key('metrics', connection), what .. ':' .. code, 1) end
end

-- A sample a minute of what waits and runs at each connection of the settings, for an hour.
--
-- backlog:<connection>, a hash, gone an hour after its last sample:
--   MINUTE   'minutes since 1970, queued, running'; MINUTE is that of the hour, so a sample takes the place of the one an
--            hour before, and there are 60 at most
-- It costs three commands for each connection, once a minute.

local SAMPLE_MS = 60000

local function sample_backlogs()
  local minute = int(math.floor(now / SAMPLE_MS))
  if call('HGET', TOTALS, 'sampled') == minute then return end
  local names = call('HKEYS', RULES)
  if #names == 0 then return end
  call('HSET', TOTALS, 'sampled', minute)
  for _, name in ipairs(names) do
    local connection = string.match(name, '^account:(.*)')
    if connection then
      local c = call('HMGET', key('connection', connection), 'queued', 'running')
      local k = key('backlog', connection)
      call('HSET', k, int(minute % 60), table.concat({minute, c[1] or '0', c[2] or '0'}, ' '))
      call('PEXPIRE', k, 60 * SAMPLE_MS)
    end
  end
end
