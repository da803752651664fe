-- A task was refused, and it is not known whether it or everything is: give it back, to be offered last.
-- It counts as a failed attempt where a task that was begun after its first refusal has been completed: then it is not
-- everything.
-- uses: tasks/ownership
-- uses: tasks/failure
--
-- KEYS[1]  the task's stream
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the task's result
-- KEYS[4]  hash, the queue's statistics
-- KEYS[5]  hash, the refused tasks: id, moment of the first refusal (ms)
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
-- ARGV[13] reserved consumer that holds the refused tasks
-- ARGV[14] whether it counts as a failed attempt: "never", nor is the refusal noted; "noted": only where the first one was
--          long ago; "always"; or "proved" (see above)
-- ARGV[15] time after which a refusal is forgotten when nobody is refused any more, milliseconds
-- ARGV[16] time after the first refusal from which on "noted" means "proved", milliseconds
--
-- Returns {'refused', 'retry', 'dead', or 'lost' when the task is no longer this consumer's and nothing is written,
-- number of dead letters that had to go}.
local tasks, group, id, delivery = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[4])
local entry = entry_of(id)
if not owns(tasks, group, ARGV[2], entry, delivery) then
  return {'lost', 0}
end
if ARGV[14] ~= 'never' then
  redis.call('HSETNX', KEYS[5], id, string.format('%.0f', now_in_ms()))
  redis.call('PEXPIRE', KEYS[5], ARGV[15])
end
local first = tonumber(redis.call('HGET', KEYS[5], id) or nil)
local stored = redis.pcall('HGET', KEYS[4], 'proved_at_ms')
local proved = type(stored) == 'string' and tonumber(stored) or 0
local long = first and now_in_ms() - first >= tonumber(ARGV[16])
local counts = (ARGV[14] == 'proved' or (ARGV[14] == 'noted' and long)) and first and proved > first
if ARGV[14] == 'always' or (counts and delivery >= tonumber(ARGV[5])) then
  return fail_task(
    {tasks = tasks, dead = KEYS[2], result = KEYS[3], stats = KEYS[4], refused = KEYS[5], once = KEYS[6]},
    {group = group, id = id, attempts = delivery, error = ARGV[7], consumer = ARGV[9]},
    {most = ARGV[5], backoff_ms = ARGV[6], horizon_ms = ARGV[10]},
    {result_ms = ARGV[8], kept = ARGV[11], kept_ms = ARGV[12]}
  )
end
-- Without a backoff: it waits behind the others.
redis.call('XCLAIM', tasks, group, ARGV[13], 0, entry, 'IDLE', 0, 'RETRYCOUNT', counts and delivery or delivery - 1, 'JUSTID')
if counts then
  redis.call('HINCRBY', KEYS[4], 'retried', 1)
end
return {counts and 'retry' or 'refused', 0}
