-- Submit one task, unless the queue is full or the same submission was made before.
-- uses: tasks/identity
-- uses: format
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  hash, the queue's statistics
-- KEYS[5]  (optional) string that remembers the submission of an idempotency key: the task's id
-- KEYS[6]  (with KEYS[5]) string, the digest of what was submitted; not there where an earlier version wrote the other
-- ARGV[1]  place of the task's stream among the three
-- ARGV[2]  greatest number of tasks of this priority and higher ones that the queue may hold
-- ARGV[3]  time to live of KEYS[5] and KEYS[6], milliseconds
-- ARGV[4]  digest of what is submitted
-- ARGV[5...]  fields of the entry: name, value, name, value ...
--
-- Returns {id, 1} for a new task, {id, 0} for one submitted before under this idempotency key, {id, -1} where that one
-- was about something else, and false when the queue is full.
local format = redis.pcall('HGET', KEYS[4], 'format')
local refusal = unreadable(format)
if refusal then
  return refusal
end
if KEYS[5] then
  local before = redis.call('GET', KEYS[5])
  if before then
    local digest = redis.call('GET', KEYS[6])
    return {before, (not digest or digest == ARGV[4]) and 0 or -1}
  end
end
local place, length = tonumber(ARGV[1]), 0
for higher = 1, place do
  length = length + redis.call('XLEN', KEYS[higher])
end
if length >= tonumber(ARGV[2]) then
  return false
end
local id = PREFIXES[place] .. redis.call('XADD', KEYS[place], '*', unpack(ARGV, 5))
if place ~= NORMAL then
  note_format(KEYS[4], format, PRIORITIES)
end
if KEYS[5] then
  redis.call('SET', KEYS[5], id, 'PX', ARGV[3])
  redis.call('SET', KEYS[6], ARGV[4], 'PX', ARGV[3])
end
return {id, 1}
