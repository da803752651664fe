-- Prelude of the scripts that end a task without an answer: the key of its submission is free again, since whoever repeats
-- it wants another try.

-- Forget the submission of a task.
--
-- once    prefix of the keys that remember submissions
-- fields  of the task's entry: name, value, name, value ...
-- id      of the task
local function forget_submission(once, fields, id)
  for i = 1, #fields, 2 do
    if fields[i] == 'ark.once' then
      local key = once .. fields[i + 1]
      local remembered = redis.pcall('GET', key)
      -- Whoever may XADD may write this field: only a key that remembers this very task is forgotten.
      if remembered == id then
        -- 'once:' names the one, 'once-digest:' the other (keys.py).
        redis.call('DEL', key, string.sub(once, 1, -2) .. '-digest:' .. fields[i + 1])
      end
    end
  end
end
