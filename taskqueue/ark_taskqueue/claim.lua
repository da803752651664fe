-- Give a worker tasks: first those that were given back or whose worker died, oldest first, then new ones.
-- The group is made where it is missing, from the stream's beginning on.
-- uses: group
--
-- KEYS[1]  stream of tasks
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that claims
-- ARGV[3]  greatest number of tasks
-- ARGV[4]  reserved consumer that holds the tasks that anybody may take
--
-- Answers {now in milliseconds, {id, delivery count, fields}, ...}.
local tasks, group, consumer, wanted = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local claimed = {time[1] * 1000 + math.floor(time[2] / 1000)}

local returned_tasks, no_group = pending(tasks, group, '-', '+', wanted, ARGV[4])
if no_group then
  redis.call('XGROUP', 'CREATE', tasks, group, '0', 'MKSTREAM')
end
for _, returned in ipairs(returned_tasks) do
  local id = returned[1]
  local entry = redis.call('XCLAIM', tasks, group, consumer, 0, id)[1]
  if entry then
    claimed[#claimed + 1] = {id, returned[4] + 1, entry[2]}
  else
    -- The entry was deleted while it waited. Redis 7 drops it from the pending list by itself, 6.2 does not.
    redis.call('XACK', tasks, group, id)
  end
end

local rest = wanted - #claimed + 1
if rest > 0 then
  local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', rest, 'STREAMS', tasks, '>')
  if new then
    for _, entry in ipairs(new[1][2]) do
      claimed[#claimed + 1] = {entry[1], 1, entry[2]}
    end
  end
end
return claimed
