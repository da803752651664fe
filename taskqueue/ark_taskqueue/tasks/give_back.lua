-- Give tasks back untouched: each keeps its place, may be claimed at once, and the delivery does not count.
-- uses: tasks/ownership
--
-- KEYS[1]  stream of tasks
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds them
-- ARGV[3]  reserved consumer that holds the tasks that anybody may take
-- ARGV[4]  idle time that the entry gets, milliseconds: large, so that any other reader of the group may take it too
-- ARGV[5...]  id, delivery count, id, delivery count ...
--
-- Returns the ids that were no longer this consumer's: nothing was done with them.
local tasks, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local lost = {}
for i = 5, #ARGV, 2 do
  local id, delivery = ARGV[i], tonumber(ARGV[i + 1])
  if owns(tasks, group, consumer, id, delivery) then
    redis.call('XCLAIM', tasks, group, ARGV[3], 0, id, 'IDLE', ARGV[4], 'RETRYCOUNT', delivery - 1, 'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
return lost
