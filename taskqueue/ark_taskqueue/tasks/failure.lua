-- Prelude of the scripts that end an attempt without a result.
-- uses: redis/clock
-- uses: tasks/burial

-- Keep a task for another attempt after a backoff, or move it to the dead letters after the last one.
--
-- keys, task  see bury; task.consumer is the reserved consumer that holds the tasks in backoff
-- retries     {most, backoff_ms, horizon_ms}: failures after which a task is a dead letter, the rest until the next
--             attempt, and how far a due time is moved into the past (see reserved.py)
-- letters     {result_ms, kept, kept_ms}
--
-- Returns {'retry' or 'dead', dead letters that had to go}.
local function fail_task(keys, task, retries, letters)
  if task.attempts >= tonumber(retries.most) then
    return {'dead', bury(keys, task, letters.result_ms, letters.kept, letters.kept_ms, now_in_ms())}
  end
  local at = now_in_ms() + tonumber(retries.backoff_ms) - tonumber(retries.horizon_ms)
  local entry, time = entry_of(task.id), string.format('%.0f', at)
  redis.call('XCLAIM', keys.tasks, task.group, task.consumer, 0, entry, 'TIME', time, 'JUSTID')
  redis.call('HINCRBY', keys.stats, 'retried', 1)
  return {'retry', 0}
end
