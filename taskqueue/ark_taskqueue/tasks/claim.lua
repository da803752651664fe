-- Give a worker tasks. The order:
--   a suspect, which a worker died with: alone, and nothing else
--   refused tasks that have waited for very long
--   tasks that were given back, oldest first
--   new ones
--   refused tasks, where the worker takes them
-- The group is made where it is missing, from the stream's beginning on.
-- uses: redis/clock
-- uses: tasks/group
-- uses: format
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  hash, the refused tasks, and the suspects that were taken alone: id and ':alone', the delivery count
-- KEYS[3]  hash, the queue's statistics
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that claims
-- ARGV[3]  greatest number of tasks
-- ARGV[4]  reserved consumer that holds the tasks that anybody may take
-- ARGV[5]  reserved consumer that holds the refused tasks
-- ARGV[6]  reserved consumer that holds the suspects
-- ARGV[7]  1 where refused tasks are taken, else 0
-- ARGV[8]  time after which a refused task has waited for very long, milliseconds
-- ARGV[9]  time for which suspects are left to workers that have nothing to do, milliseconds
-- ARGV[10] time after which it is forgotten that a suspect was taken, milliseconds
--
-- Returns {now in milliseconds, {id, delivery count, fields, 1 for a suspect, 2 for a refused one, else 0}, ...}.
local tasks, group, consumer, wanted = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local claimed = {now_in_ms()}

local refusal = unknown_format(KEYS[3])
if refusal then
  return refusal
end

local function take(entries, kind)
  for _, entry in ipairs(entries) do
    local claim = redis.call('XCLAIM', tasks, group, consumer, 0, entry[1])[1]
    if claim then
      claimed[#claimed + 1] = {entry[1], entry[4] + 1, claim[2], kind}
    else
      -- The entry was deleted while it waited. Redis 7 drops it from the pending list by itself, 6.2 does not.
      redis.call('XACK', tasks, group, entry[1])
    end
  end
end

local function rest()
  return wanted - #claimed + 1
end

local held, no_group = pending(tasks, group, '-', '+', 1, consumer)
if no_group then
  redis.call('XGROUP', 'CREATE', tasks, group, '0', 'MKSTREAM')
  redis.pcall('HSETNX', KEYS[3], 'format', FORMAT)
else
  take(pending(tasks, group, 'IDLE', held[1] and ARGV[9] or 0, '-', '+', 1, ARGV[6]), 1)
  if #claimed > 1 then
    -- Should its worker die, the next one of that name may hold others by the time the leases are over (reclaim.lua).
    redis.pcall('HSET', KEYS[2], claimed[2][1] .. ':alone', claimed[2][2])
    redis.pcall('PEXPIRE', KEYS[2], ARGV[10])
    return claimed
  end
  if ARGV[7] == '1' then
    take(pending(tasks, group, 'IDLE', ARGV[8], '-', '+', wanted, ARGV[5]), 2)
  end
  if rest() > 0 then
    take(pending(tasks, group, '-', '+', rest(), ARGV[4]), 0)
  end
end
if rest() > 0 then
  local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', rest(), 'STREAMS', tasks, '>')
  for _, entry in ipairs(new and new[1][2] or {}) do
    claimed[#claimed + 1] = {entry[1], 1, entry[2], 0}
  end
end
if rest() > 0 and ARGV[7] == '1' then
  take(pending(tasks, group, '-', '+', rest(), ARGV[5]), 2)
end
if #claimed > 1 and redis.pcall('EXISTS', KEYS[2]) == 1 then
  -- A suspect that was given back, and is now one of several, may come with the delivery count that it was taken with.
  for position = 2, #claimed do
    redis.pcall('HDEL', KEYS[2], claimed[position][1] .. ':alone')
  end
end
return claimed
