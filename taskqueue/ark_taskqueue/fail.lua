-- A task failed: keep it for another attempt after a backoff, or move it to the dead letters after the last one.
-- uses: ownership
-- uses: burial
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the task's result
-- KEYS[4]  hash, the queue's statistics
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the task
-- ARGV[3]  the task's id
-- ARGV[4]  delivery count that the consumer was given
-- ARGV[5]  failures after which a task is a dead letter
-- ARGV[6]  backoff until the next attempt, milliseconds
-- ARGV[7]  the error
-- ARGV[8]  time to live of a dead letter's result, milliseconds
-- ARGV[9]  reserved consumer that holds the tasks in backoff
-- ARGV[10] horizon: how far a due time is moved into the past, milliseconds (see consumer.py)
--
-- Answers 'retry', 'dead', or 'lost' when the task is no longer this consumer's: then nothing is written.
local tasks, group, id, delivery = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[4])
if not owns(tasks, group, ARGV[2], id, delivery) then
  return 'lost'
end
if delivery >= tonumber(ARGV[5]) then
  bury(tasks, KEYS[2], KEYS[3], KEYS[4], group, id, delivery, ARGV[7], ARGV[8])
  return 'dead'
end
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[6])
redis.call('XCLAIM', tasks, group, ARGV[9], 0, id, 'TIME', string.format('%.0f', due - tonumber(ARGV[10])), 'JUSTID')
redis.call('HINCRBY', KEYS[4], 'retried', 1)
return 'retry'
