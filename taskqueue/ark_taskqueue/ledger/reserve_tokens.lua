-- Reserve tokens for one LLM call, unless the budget would be overspent.
-- uses: ledger/token_window
--
-- KEYS[1]  hash, the ledger's sums
-- KEYS[2]  list, the tokens of each second
-- KEYS[3]  sorted set, the reservations
-- ARGV[1]  tokens that the call may cost
-- ARGV[2]  budget of 24 hours, tokens; -1 for none
-- ARGV[3]  time after which the reservation ends by itself, milliseconds
--
-- Returns {1, number of the reservation, moment at which it ends (ms)} when the tokens are reserved, else
-- {0, moment (ms) at which enough tokens will have left the window, in, out, reserved, now (ms)}; the moment is 0 where
-- only the reservations of others are in the way, and -1 where the call alone is more than the budget.
local tokens, log, reservations = KEYS[1], KEYS[2], KEYS[3]
local wanted, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_in_ms()
forget_old_calls(tokens, log, now)
forget_old_reservations(tokens, reservations, now)
local spent_in, spent_out, reserved = sums(tokens)
local used = spent_in + spent_out
if limit >= 0 and used + reserved + wanted > limit then
  return {0, wanted > limit and -1 or moment_of(log, used + wanted - limit, 0), spent_in, spent_out, reserved, now}
end
local number = redis.call('HINCRBY', tokens, 'last', 1)
local ends = now + tonumber(ARGV[3])
redis.call('HINCRBY', tokens, 'reserved', whole(wanted))
redis.call('ZADD', reservations, whole(ends), whole(number) .. ':' .. whole(wanted))
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, KEEP)
end
return {1, number, ends}
