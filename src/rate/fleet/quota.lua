-- What one replica has sent of the quotas of some keys, and its new leases, in one step.
--
-- KEYS     one for each key and window: a hash of "<bytes sent> <bytes leased> <seen>" by replica,
--          both since the window began, what was sent a part of what was leased
-- ARGV     replica, quota (bytes), life of a silent replica's lease (microseconds), least lease,
--          then for each key: bytes sent, lease wanted beyond them, seconds to keep it
--
-- Answers for each key: what the replica may send in the window, what is leased to nobody, and how
-- many replicas use the key.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local me, quota = ARGV[1], tonumber(ARGV[2])
local life, least = tonumber(ARGV[3]), tonumber(ARGV[4])

local answers = {}
for i, key in ipairs(KEYS) do
  local sent = tonumber(ARGV[2 + 3 * i])
  local want = tonumber(ARGV[3 + 3 * i])
  -- Sums since the window began, so that a report that is repeated, or that follows the loss of this
  -- very hash, counts nothing twice.
  local others, replicas, held = 0, 1, 0
  local flat = redis.call('HGETALL', key)
  for j = 1, #flat, 2 do
    local its_sent, its_lease, seen = flat[j + 1]:match('(%S+) (%S+) (%S+)')
    if flat[j] == me then
      held = math.max(0, tonumber(its_lease) - sent)
    elseif now - tonumber(seen) <= life then
      others = others + math.max(tonumber(its_sent), tonumber(its_lease))
      replicas = replicas + 1
    else
      others = others + tonumber(its_sent)
    end
  end
  -- Half of an equal share of the rest, so that those who ask later find some; and never less than
  -- this replica has already, unless it gives that up.
  local free = math.max(0, quota - others - sent)
  local share = math.max(math.floor(free / (2 * replicas)), math.min(free, least))
  local lease = math.min(free, want, math.max(held, share))
  redis.call('HSET', key, me, string.format('%.0f %.0f %.0f', sent, sent + lease, now))
  redis.call('EXPIRE', key, ARGV[4 + 3 * i])
  answers[#answers + 1] = sent + lease
  answers[#answers + 1] = free - lease
  answers[#answers + 1] = replicas
end
return answers
