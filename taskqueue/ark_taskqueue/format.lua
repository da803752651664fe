-- Prelude of the scripts that take up something new, or read: the version of what is stored of a queue. It stands in the
-- field "format" of the queue's statistics, which the first worker writes, and whoever first uses what a later one has;
-- where it is missing, it is 1.
-- Scripts for a task that a worker holds do not ask, those of its calls neither: it took the task when it could read it,
-- and finishes it.
local FORMAT = 2 -- the newest one that these scripts read
local FIRST, PRIORITIES = 1, 2 -- one stream of tasks; tasks of high or low priority, in streams of their own

-- Return the reply for a queue that these scripts cannot read, nil for one that they can.
--
-- stored  the field, as Redis answers it; no text where it is missing
local function unreadable(stored)
  if type(stored) ~= 'string' then
    return nil
  end
  local number = tonumber(stored)
  if number and number >= 1 and number <= FORMAT and number == math.floor(number) then
    return nil
  end
  return redis.error_reply('ARKFORMAT ' .. (number and string.format('%.17g', number) or 'unknown') .. ' ' .. FORMAT)
end

-- The same, for the key of the statistics.
local function unknown_format(stats)
  return unreadable(redis.pcall('HGET', stats, 'format'))
end

-- Note what the queue uses from now on, where that is not noted yet. No memory, or a key of another type: it is noted later.
--
-- stored  the field, as above
local function note_format(stats, stored, number)
  if type(stored) ~= 'string' or (tonumber(stored) or FORMAT) < number then
    redis.pcall('HSET', stats, 'format', number)
  end
end
