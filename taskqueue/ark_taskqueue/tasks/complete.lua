-- Complete a task: acknowledge and delete it, store its result, count its service time. All or nothing, once.
-- The tokens of a call that ended with the task are settled in the same step, lost task or not: they are spent.
-- uses: redis/clock
-- uses: tasks/ownership
-- uses: ledger/token_settlement
--
-- KEYS[1]  the task's stream
-- KEYS[2]  hash, the task's result
-- KEYS[3]  hash, the queue's statistics
-- KEYS[4]  hash, the refused tasks
-- KEYS[5]  hash, the ledger's sums; this and the next two only where a call is to be settled
-- KEYS[6]  list, the tokens of each second
-- KEYS[7]  sorted set, the reservations
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that holds the task
-- ARGV[3]  the task's id
-- ARGV[4]  delivery count that the consumer was given
-- ARGV[5]  time to live of the result, milliseconds
-- ARGV[6]  service time, milliseconds
-- ARGV[7]  greatest number of tasks that the mean service time looks back on
-- ARGV[8]  number of the call's reservation; this and the next five are empty where no call is to be settled
-- ARGV[9]  tokens that were reserved
-- ARGV[10] moment at which the reservation ends by itself, milliseconds
-- ARGV[11] tokens that the LLM read
-- ARGV[12] tokens that it wrote
-- ARGV[13] 1 when this may have been asked before, else 0
-- ARGV[14] 1 where the LLM's provider has answered a call of the task, else 0
-- ARGV[15...]  fields of the result: name, value, name, value ...
--
-- Returns 1 when the task is completed, also when this delivery was completed before (the caller asks again when
-- it missed the answer), and 0 when the task is no longer this consumer's: then nothing but the call's cost is written.
local tasks, result, stats = KEYS[1], KEYS[2], KEYS[3]
local delivery = ARGV[2] .. '#' .. ARGV[4]
if KEYS[5] then
  settle({KEYS[5], KEYS[6], KEYS[7]}, ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13])
end
local entry = entry_of(ARGV[3])
if not owns(tasks, ARGV[1], ARGV[2], entry, ARGV[4]) then
  return redis.call('HGET', result, 'delivery') == delivery and 1 or 0
end

redis.call('XACK', tasks, ARGV[1], entry)
redis.call('XDEL', tasks, entry)
redis.call('HSET', result, 'delivery', delivery, unpack(ARGV, 15))
redis.call('PEXPIRE', result, ARGV[5])
redis.pcall('HDEL', KEYS[4], ARGV[3], ARGV[3] .. ':alone')

-- Exponentially weighted mean: exact while there are few samples, then each new one counts 1/ARGV[7].
-- A key that somebody else wrote, or no memory: the statistics suffer, the completion does not.
local samples = redis.pcall('HINCRBY', stats, 'completed', 1)
local stored = redis.pcall('HGET', stats, 'service_mean_ms')
if type(samples) == 'number' then
  local mean = type(stored) == 'string' and tonumber(stored) or 0
  mean = mean + (tonumber(ARGV[6]) - mean) / math.min(samples, tonumber(ARGV[7]))
  redis.pcall('HSET', stats, 'service_mean_ms', string.format('%.3f', mean))
end

-- That a task was begun then, was answered and could be completed: what was refused before and is refused again is refused for what it
-- is (refuse.lua).
local begun, known = now_in_ms() - tonumber(ARGV[6]), redis.pcall('HGET', stats, 'proved_at_ms')
if ARGV[14] == '1' and begun > (type(known) == 'string' and tonumber(known) or 0) then
  redis.pcall('HSET', stats, 'proved_at_ms', string.format('%.0f', begun))
end

return 1
