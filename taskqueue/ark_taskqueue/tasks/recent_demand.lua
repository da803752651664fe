-- Read the end of the record of a queue's demand, see demand_record.lua. Writes nothing.
--
-- KEYS[1]  list, the record
-- ARGV[1]  how many minutes, from the last one back; minutes without tasks are not in the record
--
-- Returns the time in seconds, then the minutes, the oldest first, each as an array: its number since 1970, and three
-- numbers for each span.
local found = {tonumber(redis.call('TIME')[1])}
for position, stored in ipairs(redis.call('LRANGE', KEYS[1], -tonumber(ARGV[1]), -1)) do
  found[position + 1] = cmsgpack.unpack(stored)
end
return found
