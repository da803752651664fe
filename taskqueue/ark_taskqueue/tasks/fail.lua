-- A task failed: keep it for another attempt after a backoff, or move it to the dead letters after the last one.
-- uses: tasks/ownership
-- uses: tasks/failure
--
-- KEYS[1]  the task's stream
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the task's result
-- KEYS[4]  hash, the queue's statistics
-- KEYS[5]  hash, the refused tasks
-- KEYS[6]  prefix of the keys that remember submissions (same hash tag, hence the same slot)
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the task
-- ARGV[3]  the task's id
-- ARGV[4]  delivery count that the consumer was given
-- ARGV[5]  failures after which a task is a dead letter
-- ARGV[6]  backoff until the next attempt, milliseconds
-- ARGV[7]  the error
-- ARGV[8]  time to live of a dead letter's result, milliseconds
-- ARGV[9]  reserved consumer that holds the tasks in backoff
-- ARGV[10] horizon: how far a due time is moved into the past, milliseconds (see reserved.py)
-- ARGV[11] greatest number of dead letters
-- ARGV[12] greatest age of a dead letter, milliseconds
--
-- Returns {'retry', 'dead', or 'lost' when the task is no longer this consumer's and nothing is written, number of dead
-- letters that had to go}.
local group, id, delivery = ARGV[1], ARGV[3], tonumber(ARGV[4])
if not owns(KEYS[1], group, ARGV[2], entry_of(id), delivery) then
  return {'lost', 0}
end
return fail_task(
  {tasks = KEYS[1], dead = KEYS[2], result = KEYS[3], stats = KEYS[4], refused = KEYS[5], once = KEYS[6]},
  {group = group, id = id, attempts = delivery, error = ARGV[7], consumer = ARGV[9]},
  {most = ARGV[5], backoff_ms = ARGV[6], horizon_ms = ARGV[10]},
  {result_ms = ARGV[8], kept = ARGV[11], kept_ms = ARGV[12]}
)
