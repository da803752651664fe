-- Submit one task, unless the queue is full or the same submission was made before.
-- uses: format
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  hash, the queue's statistics
-- KEYS[3]  (optional) string that remembers the submission of an idempotency key: the task's id
-- KEYS[4]  (with KEYS[3]) string, the digest of what was submitted; not there where an earlier version wrote the other
-- ARGV[1]  greatest number of tasks that the queue may hold
-- ARGV[2]  time to live of KEYS[3] and KEYS[4], milliseconds
-- ARGV[3]  digest of what is submitted
-- ARGV[4...]  fields of the entry: name, value, name, value ...
--
-- Returns {id, 1} for a new task, {id, 0} for one submitted before under this idempotency key, {id, -1} where that one
-- was about something else, and false when the queue is full.
local refusal = unknown_format(KEYS[2])
if refusal then
  return refusal
end
if KEYS[3] then
  local before = redis.call('GET', KEYS[3])
  if before then
    local digest = redis.call('GET', KEYS[4])
    return {before, (not digest or digest == ARGV[3]) and 0 or -1}
  end
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return false
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
if KEYS[3] then
  redis.call('SET', KEYS[3], id, 'PX', ARGV[2])
  redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[2])
end
return {id, 1}
