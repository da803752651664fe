-- Prelude of the token ledger's scripts: the rolling window of 24 hours (contract C3).
--
-- The hash holds what is in the window now: in, out, reserved (tokens), and the number of the last reservation. The
-- list holds one entry for each second in which tokens were spent, "<second> <in> <out>", oldest first: at most 86,402.
-- The sorted set holds the reservations, "<number>:<tokens>", by the moment in milliseconds at which they end.
--
-- A call of second s counts until it is surely 24 hours old: it may have been made at the end of that second, so until
-- s + 86401. So usage is never counted too low, and too high by one second's calls at most.
-- uses: redis/clock
local WINDOW = 86401
local KEEP = 2 * 86400 -- time to live of the keys, seconds, counted from the last write

local function whole(number)
  return number == 0 and '0' or string.format('%.0f', number) -- Lua also has a -0, which Redis does not
end

local function parsed(entry)
  local second, spent_in, spent_out = string.match(entry, '^(%d+) (%d+) (%d+)$')
  return tonumber(second), tonumber(spent_in), tonumber(spent_out)
end

-- Return how many of a page's entries have left the window, and their tokens: count, in, out.
local function old_calls(log, last, start, page)
  local gone, gone_in, gone_out = 0, 0, 0
  for _, entry in ipairs(redis.call('LRANGE', log, start, start + page - 1)) do
    local second, spent_in, spent_out = parsed(entry)
    if second > last then
      break
    end
    gone, gone_in, gone_out = gone + 1, gone_in + spent_in, gone_out + spent_out
  end
  return gone, gone_in, gone_out
end

-- Take what has left the window out of the sums. Each entry is read once when it leaves: amortized, a constant cost.
local function forget_old_calls(tokens, log, now)
  local last = math.floor(now / 1000) - WINDOW
  local newest = redis.call('LINDEX', log, -1)
  if not newest then
    return
  end
  if parsed(newest) <= last then
    redis.call('DEL', log)
    redis.call('HSET', tokens, 'in', 0, 'out', 0)
    return
  end
  local page = 4
  while true do
    local gone, gone_in, gone_out = old_calls(log, last, 0, page)
    if gone > 0 then
      redis.call('LTRIM', log, gone, -1)
      redis.call('HINCRBY', tokens, 'in', whole(-gone_in))
      redis.call('HINCRBY', tokens, 'out', whole(-gone_out))
    end
    if gone < page then
      return
    end
    page = math.min(2 * page, 512)
  end
end

-- Give back what workers had reserved who did not come back in time.
local function forget_old_reservations(tokens, reservations, now)
  while true do
    local over = redis.call('ZRANGEBYSCORE', reservations, '-inf', whole(now), 'LIMIT', 0, 100)
    if #over == 0 then
      return
    end
    local amount = 0
    for _, member in ipairs(over) do
      amount = amount + tonumber(string.match(member, ':(%d+)$'))
    end
    redis.call('ZREM', reservations, unpack(over))
    redis.call('HINCRBY', tokens, 'reserved', whole(-amount))
  end
end

-- Answer the sums: in, out, reserved.
local function sums(tokens)
  local values = redis.call('HMGET', tokens, 'in', 'out', 'reserved')
  return tonumber(values[1] or 0), tonumber(values[2] or 0), tonumber(values[3] or 0)
end

-- Add what a call has cost. Where the server's clock went back, it counts as of the newest second: later than it was.
local function spend(tokens, log, now, spent_in, spent_out)
  local second = math.floor(now / 1000)
  local newest = redis.call('LINDEX', log, -1)
  if newest and parsed(newest) >= second then
    local known, known_in, known_out = parsed(newest)
    redis.call('LSET', log, -1, whole(known) .. ' ' .. whole(known_in + spent_in) .. ' ' .. whole(known_out + spent_out))
  else
    redis.call('RPUSH', log, whole(second) .. ' ' .. whole(spent_in) .. ' ' .. whole(spent_out))
  end
  redis.call('HINCRBY', tokens, 'in', whole(spent_in))
  redis.call('HINCRBY', tokens, 'out', whole(spent_out))
end

-- Answer when so many tokens will have left the window, milliseconds; 0 when none have to, -1 when so many never will.
-- The entries before `start` have left it already.
local function moment_of(log, amount, start)
  if amount <= 0 then
    return 0
  end
  while true do
    local entries = redis.call('LRANGE', log, start, start + 255)
    for _, entry in ipairs(entries) do
      local second, spent_in, spent_out = parsed(entry)
      amount = amount - spent_in - spent_out
      if amount <= 0 then
        return (second + WINDOW) * 1000
      end
    end
    if #entries < 256 then
      return -1
    end
    start = start + 256
  end
end
