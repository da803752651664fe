-- Submit one task, unless the queue is full or the same submission was made before.
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  (optional) key that remembers the submission of an idempotency key
-- ARGV[1]  greatest number of tasks that the queue may hold
-- ARGV[2]  time to live of KEYS[2], milliseconds
-- ARGV[3...]  fields of the entry: name, value, name, value ...
--
-- Answers {id, 1} for a new task, {id, 0} for one submitted before under this idempotency key, and false when the
-- queue is full.
if KEYS[2] then
  local before = redis.call('GET', KEYS[2])
  if before then
    return {before, 0}
  end
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then
  return false
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
if KEYS[2] then
  redis.call('SET', KEYS[2], id, 'PX', ARGV[2])
end
return {id, 1}
