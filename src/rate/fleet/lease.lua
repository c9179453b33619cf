-- One replica's report and its new lease, in one step.
--
-- KEYS[1]  the limit's own state: a hash of `at` (microseconds) and `credit` (bytes)
-- KEYS[2]  the replicas: a hash of "<bytes sent> <demand> <weight> <seen>" by replica, and by `gone`,
--          which stands for all that are long silent
-- ARGV     replica, bytes sent since it started, demand (bytes per second), weight,
--          rate (bytes per second), burst (bytes), life of a silent replica's claim (microseconds)
--
-- Answers the replica's part of the rate, in bytes per second.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local me, sent = ARGV[1], tonumber(ARGV[2])
local demand, weight = tonumber(ARGV[3]), tonumber(ARGV[4])
local rate, burst, life = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

-- Bytes sent are told as a sum since the start, so that a report that is repeated, or that follows
-- a lost one, or the loss of this very state, counts nothing twice.
local replicas = {}
local delta, known, gone, before = 0, false, 0, 0
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  local replica = flat[i]
  local its_sent, its_demand, its_weight, seen = flat[i + 1]:match('(%S+) (%S+) (%S+) (%S+)')
  its_sent, seen = tonumber(its_sent), tonumber(seen)
  if replica == me then
    delta, known = math.max(0, sent - its_sent), true
    sent = math.max(sent, its_sent)
  elseif replica == 'gone' then
    gone = gone + its_sent
    before = its_sent
  elseif now - seen <= life then
    replicas[#replicas + 1] = { demand = tonumber(its_demand), weight = tonumber(its_weight) }
  elseif now - seen > math.max(60000000, 2 * life) then
    -- Should it come back within a day, it is told apart again.
    redis.call('SET', KEYS[2] .. ':gone:' .. replica, string.format('%.0f', its_sent), 'EX', 86400)
    redis.call('HDEL', KEYS[2], replica)
    gone = gone + its_sent
  end
end
if not known then
  local told = redis.call('GET', KEYS[2] .. ':gone:' .. me)
  if told then
    redis.call('DEL', KEYS[2] .. ':gone:' .. me)
    delta, gone = math.max(0, sent - tonumber(told)), math.max(0, gone - tonumber(told))
  end
end
if gone ~= before then
  redis.call('HSET', KEYS[2], 'gone', string.format('%.0f 0 0 0', gone))
end
redis.call('HSET', KEYS[2], me, string.format('%.0f %.0f %.0f %.0f', sent, demand, weight, now))

-- What all have sent, against what the rate allowed them.
local state = redis.call('HMGET', KEYS[1], 'at', 'credit')
local at, credit = tonumber(state[1] or now), tonumber(state[2] or 0)
credit = math.min(burst, credit + rate * math.max(0, now - at) / 1000000) - delta
credit = math.max(credit, -rate)
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now), 'credit', string.format('%.0f', credit))
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('EXPIRE', KEYS[2], 86400)

-- The rate, put right by what was sent too much or too little, divided by weight; who wants less
-- than its part leaves the rest to the others.
local left = math.max(rate / 16, rate + math.min(credit, rate / 4))
local mine = { demand = demand, weight = weight, me = true }
replicas[#replicas + 1] = mine
while #replicas > 0 do
  local weights = 0
  for _, replica in ipairs(replicas) do
    weights = weights + replica.weight
  end
  local rest, satisfied = {}, 0
  for _, replica in ipairs(replicas) do
    if replica.demand <= left * replica.weight / weights then
      satisfied = satisfied + replica.demand
      if replica.me then
        -- Room to grow into before the next report.
        return string.format('%.0f', math.max(replica.demand, left * replica.weight / weights))
      end
    else
      rest[#rest + 1] = replica
    end
  end
  if #rest == #replicas then
    return string.format('%.0f', left * mine.weight / weights)
  end
  left = left - satisfied
  replicas = rest
end
return string.format('%.0f', left)
