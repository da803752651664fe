-- Put dead letters back into the queue as new tasks, with their attempts counted from one again.
-- uses: format
--
-- KEYS[1]  stream of tasks
-- KEYS[2]  stream of dead letters
-- KEYS[3]  hash, the queue's statistics
-- ARGV[1...]  ids of dead letters
--
-- Returns {id of the dead letter, id of its new task, ...}; ids that are no dead letters are left out.
local refusal = unknown_format(KEYS[3])
if refusal then
  return refusal
end
local requeued = {}
for _, id in ipairs(ARGV) do
  local letter = redis.call('XRANGE', KEYS[2], id, id)[1]
  if letter then
    local fields = {}
    for i = 1, #letter[2], 2 do
      local name, value = letter[2][i], letter[2][i + 1]
      if name == 'attempt' then
        value = '1'
      end
      if string.sub(name, 1, 4) ~= 'ark.' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
      end
    end
    requeued[#requeued + 1] = id
    requeued[#requeued + 1] = redis.call('XADD', KEYS[1], '*', unpack(fields))
    redis.call('XDEL', KEYS[2], id)
  end
end
return requeued
