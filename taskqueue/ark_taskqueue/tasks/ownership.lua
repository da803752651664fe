-- Prelude of the scripts that act on a task for a worker: the fence.
-- uses: tasks/group
--
-- A task is a worker's as long as the pending entry names the worker as its consumer *and* has the delivery count
-- that the worker was given with it. So a worker that lost a task to another, or lost it and was given it again,
-- cannot finish it with what it did before.

-- The pending entry's delivery count when `consumer` holds `id`, nil otherwise.
local function deliveries_of(tasks, group, consumer, id)
  local entries = pending(tasks, group, id, id, 1, consumer)
  return entries[1] and entries[1][4]
end

-- Whether the delivery of `id` that `consumer` was given as number `delivery` still stands.
local function owns(tasks, group, consumer, id, delivery)
  return deliveries_of(tasks, group, consumer, id) == tonumber(delivery)
end
