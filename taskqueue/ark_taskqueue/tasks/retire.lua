-- A worker ends: what its consumer still holds goes back without counting as an attempt, and the consumer is removed.
-- uses: tasks/group
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that ends
-- ARGV[3]  reserved consumer that holds the tasks that anybody may take
-- ARGV[4]  idle time that the entries get, milliseconds
-- ARGV[5]  greatest number of tasks that are given back in one call
--
-- Returns how many tasks were given back; when it is ARGV[5], there may be more.
local group, consumer, most = ARGV[1], ARGV[2], tonumber(ARGV[5])
local returned = 0
for _, tasks in ipairs(KEYS) do
  if returned == most then
    break
  end
  local held, no_group = pending(tasks, group, '-', '+', most - returned, consumer)
  for _, entry in ipairs(held) do
    redis.call('XCLAIM', tasks, group, ARGV[3], 0, entry[1], 'IDLE', ARGV[4], 'RETRYCOUNT', entry[4] - 1, 'JUSTID')
  end
  returned = returned + #held
  if not no_group and returned < most then
    redis.call('XGROUP', 'DELCONSUMER', tasks, group, consumer)
  end
end
return returned
