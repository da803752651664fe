-- Read the tokens of the last 24 hours.
-- uses: ledger/token_window
-- uses: format
--
-- KEYS[1]  hash, the ledger's sums
-- KEYS[2]  list, the tokens of each second
-- KEYS[3]  sorted set, the reservations
-- KEYS[4]  hash, the queue's statistics
-- ARGV[1]  tokens that a full call may cost
-- ARGV[2]  budget of 24 hours, tokens; -1 for none
--
-- Returns {in, out, reserved, moment (ms) at which a full call will fit again, now (ms)}; the moment is 0 where one fits now,
-- and -1 where none ever will. What is reserved does not count for it: it may cost less, and ends in minutes.
local refusal = unknown_format(KEYS[4])
if refusal then
  return refusal
end
local tokens, log, reservations = KEYS[1], KEYS[2], KEYS[3]
local call, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_in_ms()
-- Who may only read, the scaler's user or a replica, cannot put the ledger in order: it counts what should not be there.
-- That is little: entries that nobody takes out are those of a queue on which no call has been made since.
local tidy = pcall(forget_old_calls, tokens, log, now) and pcall(forget_old_reservations, tokens, reservations, now)
local spent_in, spent_out, reserved = sums(tokens)
local gone = 0
if not tidy then
  local last, page = math.floor(now / 1000) - WINDOW, 256
  repeat
    local count, gone_in, gone_out = old_calls(log, last, gone, page)
    gone, spent_in, spent_out = gone + count, spent_in - gone_in, spent_out - gone_out
  until count < page
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', reservations, '-inf', whole(now))) do
    reserved = reserved - tonumber(string.match(member, ':(%d+)$'))
  end
end
local moment = 0
if limit >= 0 and spent_in + spent_out + call > limit then
  moment = call > limit and -1 or moment_of(log, spent_in + spent_out + call - limit, gone)
end
return {spent_in, spent_out, reserved, moment, now}
