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
-- ARGV[8]  number of tasks of its priority from which on it is not counted how many are ahead
--
-- Returns one of
--   {'finished', {field, value, field, value ...}}  with the result
--   {'waiting', about how many tasks are ahead; -1 where that is not known, or more of its priority than are counted,
--    deliveries}
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

-- What the group says of itself in a stream; nothing where it is missing.
local function info_of(stream)
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = {}
    for i = 1, #flat, 2 do
      info[flat[i]] = flat[i + 1]
    end
    if info.name == group then
      return info
    end
  end
  return {pending = 0}
end

local function returned(stream, upper)
  return #pending(stream, group, '-', upper, most, ARGV[3])
end

local before = '(' .. entry
local own = returned(streams[place], held[1] and before or '+')
if not held[1] then
  -- The payloads pass through Redis' memory: no more of them than must be.
  local delivered = info_of(streams[place])['last-delivered-id']
  own = own + #redis.call('XRANGE', streams[place], delivered and '(' .. delivered or '-', before, 'COUNT', most)
end
if own >= most then
  return {'waiting', -1, deliveries}
end
for higher = 1, place - 1 do
  local length = redis.call('XLEN', streams[higher])
  if length > 0 then
    own = own + math.max(0, length - info_of(streams[higher]).pending) + returned(streams[higher], '+')
  end
end
return {'waiting', own, deliveries}
