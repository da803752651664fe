-- Cancel a task: it leaves the queue, wherever it is, and has a result that says so.
-- A worker that has it is told by the fence: its next renewal finds the task gone, and nothing that it reports counts.
-- uses: format
-- uses: tasks/group
-- uses: tasks/identity
-- uses: tasks/submission
--
-- KEYS[1]  the task's stream
-- KEYS[2]  hash, the task's result
-- KEYS[3]  hash, the queue's statistics
-- KEYS[4]  hash, the refused tasks
-- KEYS[5]  prefix of the keys that remember submissions (same hash tag, hence the same slot)
-- ARGV[1]  consumer group
-- ARGV[2]  the task's id
-- ARGV[3]  time to live of the result, milliseconds
-- ARGV[4]  reserved consumers, whose tasks no worker holds: their names, joined by line ends
--
-- Returns 'waiting' or 'running', what it was when it was cancelled; 'cancelled' where it was so before, 'finished' where
-- it has another result, 'gone' where there is no such task.
local refusal = unknown_format(KEYS[3])
if refusal then
  return refusal
end
local tasks, group, id = KEYS[1], ARGV[1], ARGV[2]
local entry_id = entry_of(id)
local entry = redis.call('XRANGE', tasks, entry_id, entry_id)[1]
if not entry then
  local status = redis.call('HGET', KEYS[2], 'status')
  return status == 'cancelled' and status or status and 'finished' or 'gone'
end

local held = pending(tasks, group, entry_id, entry_id, 1)[1]
local was = 'waiting'
if held then
  if not string.find('\n' .. ARGV[4] .. '\n', '\n' .. held[2] .. '\n', 1, true) then
    was = 'running'
  end
  redis.call('XACK', tasks, group, entry_id)
end
redis.call('XDEL', tasks, entry_id)
redis.call('HSET', KEYS[2], 'status', 'cancelled', 'attempts', tostring(held and held[4] or 0))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
forget_submission(KEYS[5], entry[2], id)
-- A key of another type: the statistics suffer, the cancellation does not.
redis.pcall('HDEL', KEYS[4], id, id .. ':alone')
redis.pcall('HINCRBY', KEYS[3], 'cancelled', 1)
redis.pcall('HINCRBY', KEYS[3], 'seen', -1) -- else reclaim.lua, which counts what is there and what has ended, would miss it
return was
