-- Make tasks claimable again: those whose backoff is over, and those whose worker died (its lease ran out).
--
-- Which of several tasks a worker died of nobody knows. So they become suspects, which is no attempt, and are tried one
-- at a time on workers that hold nothing else; a worker that dies with a single task died of that one, and it counts.
-- A task whose workers died as often as it may fail becomes a dead letter, so a task that kills its worker ends too.
--
-- Workers call this about once a second each; between them it runs once per interval. Where very many consumers hold
-- tasks, a call judges the next ones after those of the call before.
--
-- It also writes the record of the queue's demand: it knows what the workers hold, and runs once a second wherever there
-- is one. What arrived is what the queue has more now, and what has left it, so whoever added it counts.
-- uses: redis/clock
-- uses: tasks/group
-- uses: tasks/burial
-- uses: tasks/demand_record
-- uses: format
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  stream of dead letters
-- KEYS[5]  hash, the queue's statistics
-- KEYS[6]  prefix of the results' keys: a key is this and the task's id (same hash tag, hence the same slot)
-- KEYS[7]  hash, the refused tasks, and the suspects that were taken alone (claim.lua)
-- KEYS[8]  prefix of the keys that remember submissions
-- KEYS[9]  list, the record of the queue's demand
-- ARGV[1]  consumer group
-- ARGV[2]  lease, milliseconds
-- ARGV[3]  failures after which a task is a dead letter
-- ARGV[4]  reserved consumer that holds the tasks that anybody may take
-- ARGV[5]  reserved consumer that holds the tasks in backoff
-- ARGV[6]  horizon: how far a due time is moved into the past, milliseconds (see reserved.py)
-- ARGV[7]  time to live of a dead letter's result, milliseconds
-- ARGV[8]  interval, milliseconds
-- ARGV[9]  age after which a consumer without tasks is forgotten, milliseconds
-- ARGV[10] greatest number of tasks that are looked at in one call
-- ARGV[11] reserved consumer that holds the refused tasks
-- ARGV[12] reserved consumer that holds the suspects
-- ARGV[13] greatest number of dead letters
-- ARGV[14] greatest age of a dead letter, milliseconds
-- ARGV[15] time for which demand is kept on record, milliseconds; 0 for no record
--
-- Returns {tasks made claimable after a backoff, after a lease, moved to the dead letters, dead letters that had to go},
-- or false when another worker did this less than an interval ago.
local MOST_JUDGED = 1000 -- consumers that hold tasks, some 15 ms
local UNSEEN_MS = 3000 -- more than workers let pass between two calls
local group, lease, ready, backoff, limit = ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[5], ARGV[10]
local streams = {KEYS[1], KEYS[2], KEYS[3]}
local reserved = {[ready] = true, [backoff] = true, [ARGV[11]] = true, [ARGV[12]] = true}
local refusal = unknown_format(KEYS[5])
if refusal then
  return refusal
end
local now = now_in_ms()
-- An error has no elements.
local stored = redis.pcall('HMGET', KEYS[5], 'reclaimed_at_ms', 'consumers', 'completed', 'dead', 'seen')
local function number(position)
  return type(stored[position]) == 'string' and tonumber(stored[position]) or 0
end
local last = number(1)
-- Listing 20,000 consumers takes Redis some 20 ms: with many of them it is done less often (a hundredth of its time).
-- Whole milliseconds, as the clock has them: else a handful would keep two calls of one millisecond apart.
local interval = math.max(tonumber(ARGV[8]), math.floor(0.1 * number(2)))
if now >= last and now - last < interval then
  return false
end
-- Without memory this is refused, and what follows is needed all the more.
redis.pcall('HSET', KEYS[5], 'reclaimed_at_ms', string.format('%.0f', now))

-- See demand_record.lua. `busy` is the number of slots that have a task.
local function note_demand(busy)
  local length = 0
  for _, tasks in ipairs(streams) do
    length = length + redis.call('XLEN', tasks)
  end
  local seen = number(3) + number(4) + length
  -- A queue from before there was a record: what has been done by then arrived at no known time.
  local arrivals = (last > 0 and not stored[5]) and length or math.max(0, seen - number(5))
  redis.call('HSET', KEYS[5], 'seen', string.format('%.0f', seen))
  if tonumber(ARGV[15]) == 0 or (arrivals == 0 and length == 0) then
    return
  end
  local from = last
  if now - last > math.max(UNSEEN_MS, 2 * interval) then
    -- Nobody has looked for a while. What has arrived since then and is done is not to be seen; the rest begins here.
    local oldest = now
    for _, tasks in ipairs(streams) do
      local first = redis.call('XRANGE', tasks, '-', '+', 'COUNT', 1)[1]
      oldest = math.min(oldest, first and tonumber(string.match(first[1], '^%d+')) or now)
    end
    from = math.max(last, oldest)
  end
  record_demand(KEYS[9], tonumber(ARGV[15]), from, now, arrivals, busy, math.max(0, length - busy))
end

-- What keeps this from being done, a right or a key of another type, must not keep tasks from coming back.
local bounded, dropped = pcall(bound_dead_letters, KEYS[4], KEYS[5], ARGV[13], ARGV[14], now)
dropped = bounded and dropped or 0

local function hand_over(place, to, id, idle, deliveries)
  redis.call('XCLAIM', streams[place], group, to, 0, id, 'IDLE', idle, 'RETRYCOUNT', deliveries, 'JUSTID')
end

local rested, expired, buried = 0, 0, 0
local names, held, known, busy = {}, {}, 0, 0 -- who holds tasks, and how many of each stream
for place, tasks in ipairs(streams) do
  local entries, no_group = pending(tasks, group, 'IDLE', ARGV[6], '-', '+', limit, backoff)
  for _, entry in ipairs(entries) do
    hand_over(place, ready, entry[1], lease, entry[4])
    rested = rested + 1
  end
  for _, consumer in ipairs(no_group and {} or redis.call('XINFO', 'CONSUMERS', tasks, group)) do
    local name, count, idle = consumer[2], consumer[4], consumer[6]
    known = known + 1
    -- The tasks of a reserved one wait, and nobody has to renew them.
    if count > 0 and not reserved[name] then
      if not held[name] then
        names[#names + 1], held[name] = name, {0, 0, 0}
      end
      held[name][place], busy = count, busy + count
    elseif count == 0 and not reserved[name] and idle >= tonumber(ARGV[9]) then
      redis.call('XGROUP', 'DELCONSUMER', tasks, group, name)
    end
  end
end
table.sort(names)
pcall(note_demand, busy) -- nor must this keep tasks from coming back
redis.pcall('HSET', KEYS[5], 'consumers', known)

-- A worker died of its only task: that is an attempt, and its last one becomes a dead letter.
local function blame(place, entry, name)
  local task = {
    group = group,
    id = PREFIXES[place] .. entry[1],
    attempts = entry[4],
    error = 'its worker died or stopped renewing its lease, the last one was ' .. name
  }
  local keys = {
    tasks = streams[place], dead = KEYS[4], result = KEYS[6] .. task.id, stats = KEYS[5], refused = KEYS[7], once = KEYS[8]
  }
  if entry[4] >= tonumber(ARGV[3]) then
    local done, gone = pcall(bury, keys, task, ARGV[7], ARGV[13], ARGV[14], now)
    if done then
      buried, dropped = buried + 1, dropped + gone
      return
    end
  end
  hand_over(place, ARGV[12], entry[1], 0, entry[4])
  expired = expired + 1
end

-- All tasks of a worker in one call: one that was left over would look like the only one in the next. A worker renews at
-- least every third of a lease; what it has not renewed for half of one it does not know of, as after a restart of its
-- container. It is judged together, once all of it is over.
local function judge(name)
  local silent, over = {}, true
  for place, count in ipairs(held[name]) do
    local most = math.max(count, tonumber(limit))
    for _, entry in ipairs(count > 0 and redis.call('XPENDING', streams[place], group, '-', '+', most, name) or {}) do
      local alone = entry[3] >= lease and redis.pcall('HGET', KEYS[7], PREFIXES[place] .. entry[1] .. ':alone')
      if type(alone) == 'string' and tonumber(alone) == entry[4] then
        blame(place, entry, name) -- whatever a later worker of that name held when it died
      elseif entry[3] >= lease / 2 then
        silent[#silent + 1] = {place, entry}
        over = over and entry[3] >= lease
      end
    end
  end
  for _, found in ipairs(over and silent or {}) do
    local place, entry = unpack(found)
    if #silent == 1 then
      blame(place, entry, name)
    else
      hand_over(place, ARGV[12], entry[1], 0, entry[4] - 1)
      expired = expired + 1
    end
  end
end

local after = redis.pcall('HGET', KEYS[5], 'reclaimed_up_to')
local judged, up_to = 0, nil
for _, name in ipairs(names) do
  if type(after) ~= 'string' or name > after then
    if judged == MOST_JUDGED then
      redis.pcall('HSET', KEYS[5], 'reclaimed_up_to', up_to)
      return {rested, expired, buried, dropped}
    end
    judge(name)
    judged, up_to = judged + 1, name
  end
end
if after then
  redis.pcall('HDEL', KEYS[5], 'reclaimed_up_to')
end
return {rested, expired, buried, dropped}
