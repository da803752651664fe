-- Prelude of the scripts that move a task to the dead letters.

-- Move task `id` to the stream `dead` with its error, and tell whoever waits for its result.
-- The entry keeps its own fields; what is added begins with "ark." and is taken off again when it is requeued.
local function bury(tasks, dead, result, stats, group, id, attempts, error, result_ttl_ms)
  local entry = redis.call('XRANGE', tasks, id, id)[1]
  if not entry then
    redis.call('XACK', tasks, group, id)
    return -- deleted by somebody while it was in flight: there is nothing left to keep
  end
  local fields = entry[2]
  for _, field in ipairs({'ark.task', id, 'ark.error', error, 'ark.attempts', tostring(attempts)}) do
    fields[#fields + 1] = field
  end
  -- First of all: where it fails (an entry of thousands of fields, no memory) the task stays what it is.
  redis.call('XADD', dead, '*', unpack(fields))
  redis.call('XACK', tasks, group, id)
  redis.call('XDEL', tasks, id)
  redis.call('HSET', result, 'status', 'dead', 'error', error, 'attempts', tostring(attempts))
  redis.call('PEXPIRE', result, result_ttl_ms)
  redis.call('HINCRBY', stats, 'dead', 1)
end
