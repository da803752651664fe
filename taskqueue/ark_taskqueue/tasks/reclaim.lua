-- Make tasks claimable again: those whose backoff is over, and those whose worker died (its lease ran out).
--
-- Which of several tasks a worker died of nobody knows. So they become suspects, which is no attempt, and are tried one
-- at a time on workers that hold nothing else; a worker that dies with a single task died of that one, and it counts.
-- A task whose workers died as often as it may fail becomes a dead letter, so a task that kills its worker ends too.
--
-- Workers call this about once a second each; between them it runs once per interval. Where very many consumers hold
-- tasks, a call judges the next ones after those of the call before.
-- uses: redis/clock
-- uses: tasks/group
-- uses: tasks/burial
-- uses: format
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the queue's statistics
-- KEYS[4]  prefix of the results' keys: a key is this and the task's id (same hash tag, hence the same slot)
-- KEYS[5]  hash, the refused tasks, and the suspects that were taken alone (claim.lua)
-- KEYS[6]  prefix of the keys that remember submissions
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
--
-- Returns {tasks made claimable after a backoff, after a lease, moved to the dead letters, dead letters that had to go},
-- or false when another worker did this less than an interval ago.
local MOST_JUDGED = 1000 -- consumers that hold tasks, some 15 ms
local tasks, group, lease, ready, backoff, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[5], ARGV[10]
local reserved = {[ready] = true, [backoff] = true, [ARGV[11]] = true, [ARGV[12]] = true}
local refusal = unknown_format(KEYS[3])
if refusal then
  return refusal
end
local now = now_in_ms()
local stored = redis.pcall('HGET', KEYS[3], 'reclaimed_at_ms')
local last = type(stored) == 'string' and tonumber(stored) or 0
stored = redis.pcall('HGET', KEYS[3], 'consumers')
-- Listing 20,000 consumers takes Redis some 20 ms: with many of them it is done less often (a hundredth of its time).
local interval = math.max(tonumber(ARGV[8]), 0.1 * (type(stored) == 'string' and tonumber(stored) or 0))
if now >= last and now - last < interval then
  return false
end
-- Without memory this is refused, and what follows is needed all the more.
redis.pcall('HSET', KEYS[3], 'reclaimed_at_ms', string.format('%.0f', now))

-- What keeps this from being done, a right or a key of another type, must not keep tasks from coming back.
local bounded, dropped = pcall(bound_dead_letters, KEYS[2], KEYS[3], ARGV[13], ARGV[14], now)
dropped = bounded and dropped or 0

local function hand_over(to, id, idle, deliveries)
  redis.call('XCLAIM', tasks, group, to, 0, id, 'IDLE', idle, 'RETRYCOUNT', deliveries, 'JUSTID')
end

local rested, no_group = pending(tasks, group, 'IDLE', ARGV[6], '-', '+', limit, backoff)
if no_group then
  return {0, 0, 0, dropped}
end
for _, entry in ipairs(rested) do
  hand_over(ready, entry[1], lease, entry[4])
end

local expired, buried = 0, 0

-- A worker died of its only task: that is an attempt, and its last one becomes a dead letter.
local function blame(entry, name)
  local task = {
    group = group,
    id = entry[1],
    attempts = entry[4],
    error = 'its worker died or stopped renewing its lease, the last one was ' .. name
  }
  local keys = {
    tasks = tasks, dead = KEYS[2], result = KEYS[4] .. entry[1], stats = KEYS[3], refused = KEYS[5], once = KEYS[6]
  }
  if entry[4] >= tonumber(ARGV[3]) then
    local done, gone = pcall(bury, keys, task, ARGV[7], ARGV[13], ARGV[14], now)
    if done then
      buried, dropped = buried + 1, dropped + gone
      return
    end
  end
  hand_over(ARGV[12], entry[1], 0, entry[4])
  expired = expired + 1
end

local consumers = redis.call('XINFO', 'CONSUMERS', tasks, group) -- in one order at each call
redis.pcall('HSET', KEYS[3], 'consumers', #consumers)
local after = redis.pcall('HGET', KEYS[3], 'reclaimed_up_to')
local begin, judged, up_to = 1, 0, nil
for position, consumer in ipairs(consumers) do
  if consumer[2] == after then
    begin = position + 1
  end
end
for position, consumer in ipairs(consumers) do
  local name, held, idle = consumer[2], consumer[4], consumer[6]
  if reserved[name] then
    held = 0 -- its tasks wait, and nobody has to renew them
  elseif held == 0 and idle >= tonumber(ARGV[9]) then
    redis.call('XGROUP', 'DELCONSUMER', tasks, group, name)
  end
  if held > 0 and position >= begin then
    if judged == MOST_JUDGED then
      redis.pcall('HSET', KEYS[3], 'reclaimed_up_to', up_to)
      return {#rested, expired, buried, dropped}
    end
    judged, up_to = judged + 1, name
    -- All of them in one call: one that was left over would look like the only one in the next. A worker renews at least
    -- every third of a lease; what it has not renewed for half of one it does not know of, as after a restart of its
    -- container. It is judged together, once all of it is over.
    local silent, over = {}, true
    for _, entry in ipairs(redis.call('XPENDING', tasks, group, '-', '+', math.max(held, tonumber(limit)), name)) do
      local alone = entry[3] >= lease and redis.pcall('HGET', KEYS[5], entry[1] .. ':alone')
      if type(alone) == 'string' and tonumber(alone) == entry[4] then
        blame(entry, name) -- whatever a later worker of that name held when it died
      elseif entry[3] >= lease / 2 then
        silent[#silent + 1] = entry
        over = over and entry[3] >= lease
      end
    end
    for _, entry in ipairs(over and silent or {}) do
      if #silent == 1 then
        blame(entry, name)
      else
        hand_over(ARGV[12], entry[1], 0, entry[4] - 1)
        expired = expired + 1
      end
    end
  end
end
if after then
  redis.pcall('HDEL', KEYS[3], 'reclaimed_up_to')
end
return {#rested, expired, buried, dropped}
