-- Prelude: the consumer group may be missing (before the first worker, or after the stream was deleted).

-- XPENDING, where a missing group has no pending entries; any other error ends the script.
local function pending(tasks, group, ...)
  local entries = redis.pcall('XPENDING', tasks, group, ...)
  if entries.err then
    if string.find(entries.err, 'NOGROUP', 1, true) then
      return {}, true
    end
    error(entries.err)
  end
  return entries, false
end
