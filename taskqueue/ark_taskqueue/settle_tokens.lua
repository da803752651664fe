-- Put what an LLM call has cost in the place of its reservation.
-- uses: token_window
--
-- KEYS[1]  hash, the ledger's sums
-- KEYS[2]  list, the tokens of each second
-- KEYS[3]  sorted set, the reservations
-- ARGV[1]  number of the reservation
-- ARGV[2]  tokens that were reserved
-- ARGV[3]  moment at which the reservation ends by itself, milliseconds
-- ARGV[4]  tokens that the LLM read
-- ARGV[5]  tokens that it wrote
--
-- Answers 1 when the cost is written down, 0 when it has been already (the caller asks again when it missed the answer).
-- After the reservation's end the two cannot be told apart; then the cost is written down, so that none is missing.
local tokens, log, reservations = KEYS[1], KEYS[2], KEYS[3]
local spent_in, spent_out = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_in_ms()
forget_old_calls(tokens, log, now)
forget_old_reservations(tokens, reservations, now)
if redis.call('ZREM', reservations, ARGV[1] .. ':' .. ARGV[2]) == 1 then
  redis.call('HINCRBY', tokens, 'reserved', '-' .. ARGV[2])
elseif now < tonumber(ARGV[3]) then
  return 0
end
if spent_in + spent_out > 0 then
  spend(tokens, log, now, spent_in, spent_out)
  for _, key in ipairs(KEYS) do
    redis.call('EXPIRE', key, KEEP)
  end
end
return 1
