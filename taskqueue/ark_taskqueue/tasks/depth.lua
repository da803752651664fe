-- Read one queue's depth, as one snapshot (contract C2). Writes nothing.
-- uses: format
--
-- KEYS[1...3]  streams of tasks: of high, normal and low priority
-- KEYS[4]  hash, the queue's statistics
-- ARGV[1]  consumer group
-- ARGV[2]  reserved consumers, whose tasks no worker holds: their names, joined by line ends
-- ARGV[3]  greatest number of entries that are counted here, where the server's lag is unknown or in doubt
-- ARGV[4]  demand up to which the caller wants to watch the streams for new entries
--
-- Returns {now in milliseconds, mean service time in milliseconds, '' when no task was ever completed}, and then for each
-- stream 0 where one of high or low priority is not there, or
--   1 entries in the stream
--   2 undelivered entries; -1 when they must be counted with count.lua
--   3 pending entries
--   4 pending entries that no worker holds: given back, or in backoff; in a group of more than a thousand consumers,
--     which are too many to list at each reading, no more than ARGV[3] of each reserved one
--   5 the group's last delivered id, '' without a group
--   6 id after which a new entry has not been seen yet; '' where the demand is above ARGV[4]
--   7 id of the oldest task that no worker holds, '' when there is none
local noted = redis.pcall('HMGET', KEYS[4], 'format', 'service_mean_ms') -- an error has no elements
local refusal = unreadable(noted[1])
if refusal then
  return refusal
end
local FEW = 32
local FEW_CONSUMERS = 1000 -- all of them in a millisecond or so
local group = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Whoever may write to Redis may write this; only a sensible number is passed on.
local mean_number = type(noted[2]) == 'string' and tonumber(noted[2])
local mean = mean_number and mean_number > 0 and mean_number < 1e12 and string.format('%.3f', mean_number) or ''

local function flat_to_table(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

local function first_id(entries)
  return entries[1] and entries[1][1] or ''
end

-- Return what the reply says of one stream.
local function measured(tasks)
  local length = redis.pcall('XLEN', tasks)
  if type(length) == 'table' then
    -- Which of the three is no stream?
    error(string.find(length.err, 'WRONGTYPE', 1, true) and 'WRONGTYPE <' .. tasks .. '>' or length.err)
  end
  local info
  if length > 0 or redis.call('EXISTS', tasks) == 1 then
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', tasks)) do
      local candidate = flat_to_table(flat)
      if candidate.name == group then
        info = candidate
      end
    end
  end

  local undelivered, pending, returned, delivered_id, oldest = length, 0, 0, '', ''
  if info then
    pending, delivered_id = info.pending, info['last-delivered-id']
    undelivered = info.lag -- nil on Redis 6.2, false where Redis 7 lost count
    if undelivered then
      -- A lag may be too high, never too low: it counts trimmed entries, and Redis 7.0 goes on counting undelivered
      -- ones that were deleted, for ever, so that a pool would never come down to zero. So a small lag is counted, and
      -- a larger one too where it does not fit the entries that are there.
      local fits = undelivered + pending == length
      undelivered = math.min(undelivered, length)
      if undelivered > 0 and undelivered <= (fits and FEW or tonumber(ARGV[3])) then
        undelivered = #redis.call('XRANGE', tasks, '(' .. delivered_id, '+', 'COUNT', undelivered)
      elseif not fits and undelivered > 0 then
        undelivered = -1
      end
    else
      -- Delivered entries that are still there are few where workers delete what they complete.
      local delivered = #redis.call('XRANGE', tasks, '-', delivered_id, 'COUNT', ARGV[3])
      undelivered = delivered < tonumber(ARGV[3]) and length - delivered or -1
    end
    if pending > 0 then
      local held
      if info.consumers <= FEW_CONSUMERS then
        held = {}
        for _, consumer in ipairs(redis.call('XPENDING', tasks, group)[4]) do
          held[consumer[1]] = tonumber(consumer[2])
        end
      end
      for name in string.gmatch(ARGV[2], '[^\n]+') do
        local most = held and math.min(held[name] or 0, 1) or ARGV[3]
        local entries = most == 0 and {} or redis.call('XPENDING', tasks, group, '-', '+', most, name)
        returned = returned + (held and held[name] or #entries)
        -- Ids of one length compare as text, and those of different lengths are 200 years apart.
        if entries[1] and (oldest == '' or entries[1][1] < oldest) then
          oldest = entries[1][1]
        end
      end
    end
  end
  if oldest == '' and undelivered ~= 0 then
    local after = delivered_id == '' and '-' or '(' .. delivered_id
    oldest = first_id(redis.call('XRANGE', tasks, after, '+', 'COUNT', 1))
  end
  return {length, undelivered, pending, returned, delivered_id, '', oldest}
end

local others = redis.call('EXISTS', KEYS[1], KEYS[3]) > 0
local reply, demand = {now, mean}, 0
for place, tasks in ipairs({KEYS[1], KEYS[2], KEYS[3]}) do
  local stream = (place == 2 or others) and measured(tasks) or 0
  reply[#reply + 1] = stream
  if stream ~= 0 then
    demand = demand + (stream[2] < 0 and math.huge or stream[2]) + stream[3]
  end
end
if demand <= tonumber(ARGV[4]) then
  for place, tasks in ipairs({KEYS[1], KEYS[2], KEYS[3]}) do
    local stream = reply[place + 2]
    if stream ~= 0 then
      -- From an empty stream on, any entry is new: 0-0 also sees those of a stream that is deleted and made anew.
      local empty = stream[1] == 0
      stream[6] = empty and '0-0' or flat_to_table(redis.call('XINFO', 'STREAM', tasks))['last-generated-id']
    end
  end
end
return reply
