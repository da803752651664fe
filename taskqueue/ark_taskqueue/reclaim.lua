-- Make tasks claimable again: those whose backoff is over, and those whose worker died (its lease ran out).
-- A task whose workers died as often as it may fail becomes a dead letter, so a task that kills its worker ends too.
-- Workers call this about once a second each; between them it runs once per interval.
-- uses: group
-- uses: burial
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the queue's statistics
-- KEYS[4]  prefix of the results' keys: a key is this and the task's id (same hash tag, hence the same slot)
-- ARGV[1]  consumer group
-- ARGV[2]  lease, milliseconds
-- ARGV[3]  failures after which a task is a dead letter
-- ARGV[4]  reserved consumer that holds the tasks that anybody may take
-- ARGV[5]  reserved consumer that holds the tasks in backoff
-- ARGV[6]  horizon: how far a due time is moved into the past, milliseconds (see consumer.py)
-- ARGV[7]  time to live of a dead letter's result, milliseconds
-- ARGV[8]  interval, milliseconds
-- ARGV[9]  age after which a consumer without tasks is forgotten, milliseconds
-- ARGV[10] greatest number of tasks that are looked at in one call
--
-- Answers {tasks made claimable after a backoff, after a lease, moved to the dead letters}, or false when another
-- worker did this less than an interval ago.
local tasks, group, ready, backoff, limit = KEYS[1], ARGV[1], ARGV[4], ARGV[5], ARGV[10]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.pcall('HGET', KEYS[3], 'reclaimed_at_ms')
local last = type(stored) == 'string' and tonumber(stored) or 0
if now >= last and now - last < tonumber(ARGV[8]) then
  return false
end
-- Without memory this is refused, and what follows is needed all the more.
redis.pcall('HSET', KEYS[3], 'reclaimed_at_ms', string.format('%.0f', now))

local function make_claimable(id, idle, deliveries)
  redis.call('XCLAIM', tasks, group, ready, 0, id, 'IDLE', idle, 'RETRYCOUNT', deliveries, 'JUSTID')
end

local rested, no_group = pending(tasks, group, 'IDLE', ARGV[6], '-', '+', limit, backoff)
if no_group then
  return {0, 0, 0}
end
for _, entry in ipairs(rested) do
  make_claimable(entry[1], ARGV[2], entry[4])
end

local expired, buried = 0, 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', tasks, group)) do
  local name, pending, idle = consumer[2], consumer[4], consumer[6]
  if name ~= ready and name ~= backoff then
    if pending == 0 and idle >= tonumber(ARGV[9]) then
      redis.call('XGROUP', 'DELCONSUMER', tasks, group, name)
    elseif pending > 0 then
      for _, entry in ipairs(redis.call('XPENDING', tasks, group, 'IDLE', ARGV[2], '-', '+', limit, name)) do
        local reason = 'its worker died or stopped renewing its lease, the last one was ' .. name
        if entry[4] >= tonumber(ARGV[3])
          and pcall(bury, tasks, KEYS[2], KEYS[4] .. entry[1], KEYS[3], group, entry[1], entry[4], reason, ARGV[7])
        then
          buried = buried + 1
        else
          make_claimable(entry[1], ARGV[2], entry[4])
          expired = expired + 1
        end
      end
    end
  end
end
return {#rested, expired, buried}
