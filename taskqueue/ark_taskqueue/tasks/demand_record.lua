-- Prelude: the record of a queue's demand (contract C8), written about once a second by whoever reclaims (reclaim.lua).
--
-- A list of minutes, the oldest first, and none without tasks. A minute is a MessagePack array: its number since 1970,
-- and for each of its spans of ten seconds three numbers: tasks that arrived, tenths of a second of busy slots, tenths of
-- a second that tasks waited. Spans at its end without tasks are left out.

local SPAN_MS, SPANS, NUMBERS = 10000, 6, 3
local MOST_BACK_MS = 3600000 -- a queue may have waited for days

-- Return the last minute of the record if it is this one, else a new one; and whether it is new.
local function minute_of(key, minute)
  local stored = redis.call('LINDEX', key, -1)
  if stored then
    local known = cmsgpack.unpack(stored)
    if known[1] == minute then
      return known, false
    end
  end
  return {minute}, true
end

local function keep_minute(key, minute, is_new)
  if is_new then
    redis.call('RPUSH', key, cmsgpack.pack(minute))
  else
    redis.call('LSET', key, -1, cmsgpack.pack(minute))
  end
end

-- Add what was seen to the spans from one moment to another, to each as much of it as of the time lies in it.
--
-- key       of the list
-- kept_ms   age from which on minutes are dropped
-- from, now milliseconds; nothing was written of this time yet
-- arrivals  tasks that arrived in it
-- busy      slots that were busy
-- waiting   tasks that waited
local function record_demand(key, kept_ms, from, now, arrivals, busy, waiting)
  from = math.max(math.min(from, now - 1), now - MOST_BACK_MS)
  local minute, is_new, spread = nil, false, 0
  for span = math.floor(from / SPAN_MS), math.floor((now - 1) / SPAN_MS) do
    local number = math.floor(span / SPANS)
    if not minute or minute[1] ~= number then
      if minute then
        keep_minute(key, minute, is_new)
      end
      minute, is_new = minute_of(key, number)
    end
    local at = NUMBERS * (span % SPANS) + 2
    for position = #minute + 1, at + NUMBERS - 1 do
      minute[position] = 0
    end
    local until_ms = math.min(now, (span + 1) * SPAN_MS)
    local tenths = (until_ms - math.max(from, span * SPAN_MS)) / 100
    local so_far = math.floor(arrivals * (until_ms - from) / (now - from))
    minute[at] = minute[at] + so_far - spread
    minute[at + 1] = minute[at + 1] + math.floor(busy * tenths + 0.5)
    minute[at + 2] = minute[at + 2] + math.floor(waiting * tenths + 0.5)
    spread = so_far
  end
  keep_minute(key, minute, is_new)
  local oldest = math.floor((now - kept_ms) / (SPANS * SPAN_MS))
  while cmsgpack.unpack(redis.call('LINDEX', key, 0))[1] < oldest do
    redis.call('LTRIM', key, 1, -1)
  end
  redis.call('PEXPIRE', key, kept_ms)
end
