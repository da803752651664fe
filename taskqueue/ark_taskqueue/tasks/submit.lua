-- Submit one task, unless the queue is full or the same submission was made before.
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  (optional) string that remembers the submission of an idempotency key: the task's id
-- KEYS[3]  (with KEYS[2]) string, the digest of what was submitted; not there where an earlier version wrote the other
-- ARGV[1]  greatest number of tasks that the queue may hold
-- ARGV[2]  time to live of KEYS[2] and KEYS[3], milliseconds
-- ARGV[3]  digest of what is submitted
-- ARGV[4...]  fields of the entry: name, value, name, value ...
--
-- Returns {id, 1} for a new task, {id, 0} for one submitted before under this idempotency key, {id, -1} where that one
-- was about something else, and false when the queue is full.
if KEYS[2] then
  local before = redis.call('GET', KEYS[2])
  if before then
    local digest = redis.call('GET', KEYS[3])
    return {before, (not digest or digest == ARGV[3]) and 0 or -1}
  end
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return false
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
if KEYS[2] then
  redis.call('SET', KEYS[2], id, 'PX', ARGV[2])
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[2])
end
return {id, 1}
