-- Prelude: a task's id is its entry's, with the priority before it where that is not normal (priority.py).

local PREFIXES = {'high-', '', 'low-'} -- by place: streams are given in this order, the one in which tasks are taken
local NORMAL = 2

-- Return the id of a task's entry, and the place of its stream.
local function entry_of(id)
  for place, prefix in ipairs(PREFIXES) do
    if place ~= NORMAL and string.sub(id, 1, #prefix) == prefix then
      return string.sub(id, #prefix + 1), place
    end
  end
  return id, NORMAL
end
