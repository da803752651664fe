-- Count the entries in a range of a stream, one page of it. The payloads stay in Redis.
--
-- KEYS[1]  stream
-- ARGV[1]  start of the range, as XRANGE takes it
-- ARGV[2]  end of the range, as XRANGE takes it
-- ARGV[3]  greatest number of entries that are counted
--
-- Returns {entries counted, id of the last one}; there may be more when the count is ARGV[3].
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#entries, #entries > 0 and entries[#entries][1] or ''}
