-- Put dead letters back into the queue as new tasks, with their attempts counted from one again.
-- uses: tasks/identity
-- uses: format
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  stream of dead letters
-- KEYS[5]  hash, the queue's statistics
-- ARGV[1...]  ids of dead letters
--
-- Returns {id of the dead letter, id of its new task, ...}; ids that are no dead letters are left out.
local format = redis.pcall('HGET', KEYS[5], 'format')
local refusal = unreadable(format)
if refusal then
  return refusal
end
local requeued = {}
for _, id in ipairs(ARGV) do
  local letter = redis.call('XRANGE', KEYS[4], id, id)[1]
  if letter then
    local fields, place = {}, NORMAL
    for i = 1, #letter[2], 2 do
      local name, value = letter[2][i], letter[2][i + 1]
      if name == 'attempt' then
        value = '1'
      elseif name == 'ark.task' then
        _, place = entry_of(value) -- each to where it was
      end
      if string.sub(name, 1, 4) ~= 'ark.' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
      end
    end
    if place ~= NORMAL then
      note_format(KEYS[5], format, PRIORITIES)
    end
    requeued[#requeued + 1] = id
    requeued[#requeued + 1] = PREFIXES[place] .. redis.call('XADD', KEYS[place], '*', unpack(fields))
    redis.call('XDEL', KEYS[4], id)
  end
end
return requeued
