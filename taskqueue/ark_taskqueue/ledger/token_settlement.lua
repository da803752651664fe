-- Prelude of the scripts that put what an LLM call has cost in the place of its reservation.
-- uses: ledger/token_window

-- Write down a call's cost. Returns 1, or 0 when that has been done already: the caller says so when it asks again, since
-- it missed the answer, and the reservation is gone before its end. A reservation that is gone when nobody has asked
-- before was lost with a server; one whose time is over cannot be told from one that was settled. Both are written down,
-- so that none is missing.
--
-- keys   the ledger's: hash of sums, list of seconds, sorted set of reservations
-- number, reserved, ends   of the reservation: its number, its tokens, the moment at which it ends by itself (ms)
-- spent_in, spent_out      tokens that the LLM read and wrote
-- again                    '1' when it may have been written down before
local function settle(keys, number, reserved, ends, spent_in, spent_out, again)
  local tokens, log, reservations = keys[1], keys[2], keys[3]
  local now = now_in_ms()
  forget_old_calls(tokens, log, now)
  forget_old_reservations(tokens, reservations, now)
  if redis.call('ZREM', reservations, number .. ':' .. reserved) == 1 then
    redis.call('HINCRBY', tokens, 'reserved', whole(-tonumber(reserved)))
  elseif again == '1' and now < tonumber(ends) then
    return 0
  end
  spent_in, spent_out = tonumber(spent_in), tonumber(spent_out)
  if spent_in + spent_out > 0 then
    spend(tokens, log, now, spent_in, spent_out)
    for _, key in ipairs(keys) do
      redis.call('EXPIRE', key, KEEP)
    end
  end
  return 1
end
