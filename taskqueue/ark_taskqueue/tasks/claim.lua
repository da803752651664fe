-- Give a worker tasks. The order:
--   a suspect, which a worker died with: alone, and nothing else
--   of each priority
--     refused tasks that have waited for very long
--     tasks that were given back, oldest first
--     new ones
--   refused tasks, where the worker takes them
-- The priorities go from high to low, or a lower one comes first for once (ARGV[11]).
-- The group is made where it is missing, from the stream's beginning on.
-- uses: redis/clock
-- uses: tasks/group
-- uses: format
-- uses: tasks/identity
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  hash, the refused tasks, and the suspects that were taken alone: id and ':alone', the delivery count
-- KEYS[5]  hash, the queue's statistics
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
-- ARGV[11] places of all streams in the order in which they are tried, as '123'
--
-- Returns {now in milliseconds, places of the streams that have the group, as '123', places of those with tasks
-- where there is more than one priority,
-- {id, delivery count, fields, 1 for a suspect, 2 for a refused one, else 0}, ...}.
local group, consumer, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local claimed = {now_in_ms(), '', ''}
local BEFORE = #claimed

local format = redis.pcall('HGET', KEYS[5], 'format')
local refusal = unreadable(format)
if refusal then
  return refusal
end

-- Most queues have tasks of normal priority alone, and should not pay for the others.
local streams, places = KEYS, {NORMAL}
local others = redis.call('EXISTS', streams[1], streams[3]) > 0
if others then
  note_format(KEYS[5], format, PRIORITIES)
  places = {}
  for place in string.gmatch(ARGV[11], '%d') do
    place = tonumber(place)
    if place == NORMAL or redis.call('EXISTS', streams[place]) == 1 then
      places[#places + 1] = place
    end
  end
end

local function take(place, entries, kind)
  for _, entry in ipairs(entries) do
    local claim = redis.call('XCLAIM', streams[place], group, consumer, 0, entry[1])[1]
    if claim then
      claimed[#claimed + 1] = {PREFIXES[place] .. entry[1], entry[4] + 1, claim[2], kind}
    else
      -- The entry was deleted while it waited. Redis 7 drops it from the pending list by itself, 6.2 does not.
      redis.call('XACK', streams[place], group, entry[1])
    end
  end
end

local function rest()
  return wanted - #claimed + BEFORE
end

-- Whether the worker has nothing to do.
local function is_idle()
  for _, place in ipairs(places) do
    if pending(streams[place], group, '-', '+', 1, consumer)[1] then
      return false
    end
  end
  return true
end

local suspected, is_new = {}, {}
for _, place in ipairs(places) do
  local suspects, no_group = pending(streams[place], group, '-', '+', 1, ARGV[6])
  if no_group then
    redis.call('XGROUP', 'CREATE', streams[place], group, '0', 'MKSTREAM')
    if not others then
      note_format(KEYS[5], format, FIRST)
    end
    is_new[place] = true
  elseif suspects[1] then
    suspected[#suspected + 1] = place
  end
  claimed[2] = claimed[2] .. place
  if others and redis.call('XLEN', streams[place]) > 0 then
    claimed[3] = claimed[3] .. place
  end
end
if suspected[1] then
  local waited = is_idle() and 0 or ARGV[9]
  for _, place in ipairs(suspected) do
    take(place, pending(streams[place], group, 'IDLE', waited, '-', '+', 1, ARGV[6]), 1)
    if rest() < wanted then
      -- Should its worker die, the next one of that name may hold others by the time the leases are over (reclaim.lua).
      redis.pcall('HSET', KEYS[4], claimed[BEFORE + 1][1] .. ':alone', claimed[BEFORE + 1][2])
      redis.pcall('PEXPIRE', KEYS[4], ARGV[10])
      return claimed
    end
  end
end

-- Take refused tasks that have waited for so many milliseconds.
local function take_refused(place, waited)
  if ARGV[7] == '1' and rest() > 0 and not is_new[place] then
    take(place, pending(streams[place], group, 'IDLE', waited, '-', '+', rest(), ARGV[5]), 2)
  end
end

for _, place in ipairs(places) do
  take_refused(place, ARGV[8])
  if rest() > 0 and not is_new[place] then
    take(place, pending(streams[place], group, '-', '+', rest(), ARGV[4]), 0)
  end
  if rest() > 0 then
    local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', rest(), 'STREAMS', streams[place], '>')
    for _, entry in ipairs(new and new[1][2] or {}) do
      claimed[#claimed + 1] = {PREFIXES[place] .. entry[1], 1, entry[2], 0}
    end
  end
end
for _, place in ipairs(places) do
  take_refused(place, 0)
end
if #claimed > BEFORE and redis.pcall('EXISTS', KEYS[4]) == 1 then
  -- A suspect that was given back, and is now one of several, may come with the delivery count that it was taken with.
  for position = BEFORE + 1, #claimed do
    redis.pcall('HDEL', KEYS[4], claimed[position][1] .. ':alone')
  end
end
return claimed
