-- Give tasks back untouched: each keeps its place, may be claimed at once, and the delivery does not count.
-- uses: tasks/ownership
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds them
-- ARGV[3]  reserved consumer that holds the tasks that anybody may take
-- ARGV[4]  idle time that the entry gets, milliseconds: large, so that any other reader of the group may take it too
-- ARGV[5...]  id, delivery count, id, delivery count ...
--
-- Returns the ids that were no longer this consumer's: nothing was done with them.
local group, consumer = ARGV[1], ARGV[2]
local lost = {}
for i = 5, #ARGV, 2 do
  local id, delivery = ARGV[i], tonumber(ARGV[i + 1])
  local entry, place = entry_of(id)
  if owns(KEYS[place], group, consumer, entry, delivery) then
    redis.call('XCLAIM', KEYS[place], group, ARGV[3], 0, entry, 'IDLE', ARGV[4], 'RETRYCOUNT', delivery - 1, 'JUSTID')
  else
    lost[#lost + 1] = id
  end
end
return lost
