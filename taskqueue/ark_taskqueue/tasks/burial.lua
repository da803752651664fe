-- Prelude of the scripts that move a task to the dead letters.
-- uses: tasks/identity
-- uses: tasks/submission

-- Name and value pairs that one call can pass on: Lua's stack holds some 8,000 values.
local MOST_FIELDS = 3500

-- Keep dead letters within their bounds; count what had to go.
--
-- dead, stats   keys
-- kept, kept_ms greatest number of dead letters, and their greatest age in milliseconds
-- now           milliseconds
local function bound_dead_letters(dead, stats, kept, kept_ms, now)
  local dropped = redis.call('XTRIM', dead, 'MAXLEN', kept)
  local oldest = now - tonumber(kept_ms)
  if oldest > 0 then
    dropped = dropped + redis.call('XTRIM', dead, 'MINID', string.format('%.0f', oldest))
  end
  if dropped > 0 then
    redis.pcall('HINCRBY', stats, 'dropped', dropped)
  end
  return dropped
end

-- Move a task to the stream of dead letters with its error, and tell whoever waits for its result.
-- The entry keeps its own fields; what is added begins with "ark." and is taken off again when it is requeued.
--
-- keys       {tasks, dead, result, stats, refused, once}: the task's stream, stream of dead letters, hash of the result,
--            hash of the statistics, hash of the refused tasks, prefix of the keys that remember submissions
-- task       {group, id, attempts, error}
-- result_ms  time to live of the result
-- kept, kept_ms, now  see above
local function bury(keys, task, result_ms, kept, kept_ms, now)
  redis.pcall('HDEL', keys.refused, task.id, task.id .. ':alone')
  local entry_id = entry_of(task.id)
  local entry = redis.call('XRANGE', keys.tasks, entry_id, entry_id)[1]
  if not entry then
    redis.call('XACK', keys.tasks, task.group, entry_id)
    return 0 -- deleted by somebody while it was in flight: there is nothing left to keep
  end
  local fields, submitted = {}, #entry[2]
  for i = 1, math.min(submitted, 2 * MOST_FIELDS) do
    fields[i] = entry[2][i]
  end
  local added = {'ark.task', task.id, 'ark.error', task.error, 'ark.attempts', tostring(task.attempts)}
  if submitted > #fields then
    -- Kept in part: a task that could not be buried would be tried, and paid for, for ever.
    added[#added + 1] = 'ark.truncated'
    added[#added + 1] = tostring(submitted / 2 - MOST_FIELDS)
  end
  for _, field in ipairs(added) do
    fields[#fields + 1] = field
  end
  -- First of all: where it fails (no memory) the task stays what it is.
  redis.call('XADD', keys.dead, '*', unpack(fields))
  -- Where no worker runs that would drop those that are too old, they go all at once when the youngest is.
  redis.call('PEXPIRE', keys.dead, kept_ms)
  redis.call('XACK', keys.tasks, task.group, entry_id)
  redis.call('XDEL', keys.tasks, entry_id)
  redis.call('HSET', keys.result, 'status', 'dead', 'error', task.error, 'attempts', tostring(task.attempts))
  redis.call('PEXPIRE', keys.result, result_ms)
  redis.call('HINCRBY', keys.stats, 'dead', 1)
  forget_submission(keys.once, entry[2], task.id)
  return bound_dead_letters(keys.dead, keys.stats, kept, kept_ms, now)
end
