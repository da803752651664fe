-- Read a part of the record of a queue's demand, see demand_record.lua. Writes nothing.
--
-- KEYS[1]  list, the record
-- ARGV[1]  position of the first minute, as LRANGE takes it
-- ARGV[2]  position of the last one
--
-- Returns the minutes, the oldest first, each as an array: its number since 1970, and three numbers for each span.
local minutes = {}
for position, stored in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  minutes[position] = cmsgpack.unpack(stored)
end
return minutes
