-- Prelude of the scripts that act on a task for a worker: the fence.
-- uses: tasks/group
-- uses: tasks/identity
--
-- A task is a worker's as long as the pending entry names the worker as its consumer *and* has the delivery count
-- that the worker was given with it. So a worker that lost a task to another, or lost it and was given it again,
-- cannot finish it with what it did before.

-- Whether the delivery of an entry that `consumer` was given as number `delivery` still stands.
local function owns(tasks, group, consumer, entry, delivery)
  local entries = pending(tasks, group, entry, entry, 1, consumer)
  return (entries[1] and entries[1][4]) == tonumber(delivery)
end
