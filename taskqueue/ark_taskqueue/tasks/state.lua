-- Say where a task is. Writes nothing.
-- uses: format
-- uses: tasks/group
-- uses: tasks/identity
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  hash, the task's result
-- KEYS[5]  hash, the queue's statistics
-- ARGV[1]  consumer group
-- ARGV[2]  the task's id
-- ARGV[3]  reserved consumer that holds the tasks that anybody may take
-- ARGV[4]  reserved consumer that holds the tasks in backoff
-- ARGV[5]  reserved consumer that holds the refused tasks
-- ARGV[6]  reserved consumer that holds the suspects
-- ARGV[7]  horizon: how far a due time is moved into the past, milliseconds (see reserved.py)
-- ARGV[8]  greatest number of tasks that are counted in one place
--
-- Returns one of
--   {'finished', {field, value, field, value ...}}  with the result
--   {'waiting', tasks ahead; -1 where that is not known, or more than are counted, deliveries}
--   {'backoff', milliseconds until it is due, deliveries}
--   {'running', milliseconds since its lease was renewed, deliveries, consumer}
--   {'gone'}
local refusal = unknown_format(KEYS[5])
if refusal then
  return refusal
end
local streams, group, most = {KEYS[1], KEYS[2], KEYS[3]}, ARGV[1], tonumber(ARGV[8])
local entry, place = entry_of(ARGV[2])
if #redis.call('XRANGE', streams[place], entry, entry) == 0 then
  local result = redis.call('HGETALL', KEYS[4])
  return #result > 0 and {'finished', result} or {'gone'}
end

local held = pending(streams[place], group, entry, entry, 1)
local consumer, idle, deliveries = ARGV[3], 0, 0
if held[1] then
  consumer, idle, deliveries = held[1][2], held[1][3], held[1][4]
end
if consumer == ARGV[4] then
  return {'backoff', math.max(0, tonumber(ARGV[7]) - idle), deliveries}
elseif consumer == ARGV[5] or consumer == ARGV[6] then
  return {'waiting', -1, deliveries} -- behind the others, or until a worker has nothing to do
elseif consumer ~= ARGV[3] then
  return {'running', idle, deliveries, consumer}
end

local ahead, is_more = 0, false
local function count(entries)
  ahead, is_more = ahead + #entries, is_more or #entries >= most
end

-- Count what was given back, up to an id.
local function count_returned(stream, upper)
  count(pending(stream, group, '-', upper, most, ARGV[3]))
end

-- Count what was never delivered, up to an id.
local function count_new(stream, upper)
  local after = '-'
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = {}
    for i = 1, #flat, 2 do
      info[flat[i]] = flat[i + 1]
    end
    if info.name == group then
      after = '(' .. info['last-delivered-id']
    end
  end
  count(redis.call('XRANGE', stream, after, upper, 'COUNT', most))
end

for higher = 1, place - 1 do
  if redis.call('EXISTS', streams[higher]) == 1 then
    count_returned(streams[higher], '+')
    count_new(streams[higher], '+')
  end
end
if held[1] then
  count_returned(streams[place], '(' .. entry)
else
  count_returned(streams[place], '+')
  count_new(streams[place], '(' .. entry)
end
return {'waiting', is_more and -1 or ahead, deliveries}
