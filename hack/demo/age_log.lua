-- Make what a token ledger holds older, as if so much time had passed; for showing a day in seconds.
--
-- KEYS[1]  list, the tokens of each second
-- ARGV[1]  seconds
--
-- Returns the number of seconds in it.
local entries = redis.call('LRANGE', KEYS[1], 0, -1)
for place, entry in ipairs(entries) do
  local second, rest = string.match(entry, '^(%d+)( .*)$')
  redis.call('LSET', KEYS[1], place - 1, string.format('%.0f', tonumber(second) - tonumber(ARGV[1])) .. rest)
end
return #entries
