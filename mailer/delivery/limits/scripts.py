"""What Redis runs: each script is one round trip, and Redis's own clock is the only one. The rules are `local.py`'s.

Both clamp what they find to what can be true, since a clock that was set back must not stop mail for hours.
"""

#: KEYS: seats (worker -> "count until wanting_until", in ms), when the receiver complained (ms).
#: ARGV: worker, held, wanted, limit (-1: none), ms since the complaint (-1: none known), ms: lapse, pause, step; most,
#: ms: wanting, ask again, tolerance. Returns allowed (-1: any number), wait, ms since the complaint (-1), workers.
SEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local worker, held, wanted, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local told, lapse, pause, step = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local most, wanting, again, tolerance = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local complained = tonumber(redis.call('GET', KEYS[2]) or '')
if complained and complained > now then complained = now end
if told >= 0 and (not complained or told == 0 or now - told > complained + tolerance) then
  complained = now - told
  redis.call('SET', KEYS[2], string.format('%.0f', complained), 'PX', math.ceil(pause + step * most))
end
local wait, past = 0, -1
if complained then
  past = now - complained
  local opened = 0
  if past >= pause then opened = 1 + math.floor((past - pause) / step) end
  local ceiling = most
  if limit >= 0 and limit < most then ceiling = limit end
  if opened >= ceiling then
    redis.call('DEL', KEYS[2])
    past = -1
  else
    limit = opened
    wait = math.max(0, pause - past)
  end
end

local workers, rivals, taken, hungry, waits = 1, 1, 0, false, 0
local holdings = redis.call('HGETALL', KEYS[1])
for i = 1, #holdings, 2 do
  local count, ends, wants = string.match(holdings[i + 1], '^(%d+) (%d+) (%d+)$')
  count, ends, wants = tonumber(count), tonumber(ends), tonumber(wants)
  if holdings[i] == worker then
    waits = math.min(wants, now + wanting)
  else
    if ends <= now or ends > now + lapse then
      redis.call('HDEL', KEYS[1], holdings[i])
    else
      workers = workers + 1
      taken = taken + count
      if wants > now then hungry = true end
      if count > 0 or wants > now then rivals = rivals + 1 end
    end
  end
end

local allowed, count, wants = -1, math.max(held, wanted), 0
-- Who only says what it holds still waits for what it was denied, and for nothing else.
if wanted <= held then wants = waits end
if limit >= 0 then
  local free = limit - taken
  if hungry then free = math.min(free, math.ceil(limit / rivals)) end
  allowed = math.max(0, math.min(wanted, free))
  count = math.max(held, allowed)
  if wanted > allowed then
    if wanted > held then wants = now + wanting end
    if wait == 0 then wait = again end
  end
end
redis.call('HSET', KEYS[1], worker, string.format('%.0f %.0f %.0f', count, now + lapse, wants))
redis.call('PEXPIRE', KEYS[1], math.ceil(lapse * 2))
return {allowed, math.ceil(wait), past, workers}
"""

#: KEYS: buckets (when each is full again, in microseconds). ARGV: seconds of a burst, of a sip, then rate and tokens of
#: each bucket. Returns the wait in microseconds, then the tokens of each.
GRANT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local burst, sip = tonumber(ARGV[1]), tonumber(ARGV[2])
local wait, full, tokens = 0, {}, {}
for i, key in ipairs(KEYS) do
  local rate, wanted = tonumber(ARGV[1 + 2 * i]) / 1000000, tonumber(ARGV[2 + 2 * i])
  local size = math.max(1, rate * burst * 1000000)
  full[i] = math.min(math.max(now, tonumber(redis.call('GET', key) or now)), now + size / rate)
  local there = size - (full[i] - now) * rate
  local least = math.max(1, math.min(wanted, math.floor(rate * sip * 1000000)))
  if there + 0.000001 < least then wait = math.max(wait, (least - there) / rate) end
  tokens[i] = math.max(1, math.min(wanted, math.floor(there + 0.000001)))
end
local answer = {math.ceil(wait)}
for i, key in ipairs(KEYS) do
  if wait > 0 then
    answer[i + 1] = 0
  else
    local rate = tonumber(ARGV[1 + 2 * i]) / 1000000
    local filled = full[i] + tokens[i] / rate
    redis.call('SET', key, string.format('%.3f', filled), 'PX', math.ceil((filled - now) / 1000) + 1000)
    answer[i + 1] = tokens[i]
  end
end
return answer
"""
