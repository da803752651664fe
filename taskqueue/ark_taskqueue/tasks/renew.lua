-- Renew the lease of all tasks that a worker holds: their idle time starts again from zero.
-- uses: tasks/ownership
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds them
-- ARGV[3...]  id, delivery count, id, delivery count ...
--
-- Returns the positions (1, 2 ...) of those that are no longer this consumer's: somebody else's now, or gone.
local group, consumer = ARGV[1], ARGV[2]
local lost = {}
for i = 3, #ARGV, 2 do
  local entry, place = entry_of(ARGV[i])
  if owns(KEYS[place], group, consumer, entry, ARGV[i + 1]) then
    -- JUSTID: a renewal is no delivery.
    redis.call('XCLAIM', KEYS[place], group, consumer, 0, entry, 'JUSTID')
  else
    lost[#lost + 1] = (i - 1) / 2
  end
end
return lost
