-- What one replica has sent of the quotas of some keys, and its new leases, in one step.
--
-- KEYS     one for each key and window: a hash of "<bytes sent> <bytes leased> <seen>" by replica,
--          both since the window began, what was sent a part of what was leased, and by `gone`, which
--          stands for all that are long silent
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
  local keep = ARGV[4 + 3 * i]
  -- Sums since the window began, so that a report that is repeated, or that follows the loss of this
  -- very hash, counts nothing twice.
  local others, replicas, held = 0, 1, 0
  local known, gone, before = false, 0, 0
  local flat = redis.call('HGETALL', key)
  for j = 1, #flat, 2 do
    local replica = flat[j]
    local its_sent, its_lease, seen = flat[j + 1]:match('(%S+) (%S+) (%S+)')
    its_sent, its_lease, seen = tonumber(its_sent), tonumber(its_lease), tonumber(seen)
    if replica == me then
      held, known = math.max(0, its_lease - sent), true
    elseif replica == 'gone' then
      gone = gone + its_sent
      before = its_sent
    elseif now - seen <= life then
      others = others + math.max(its_sent, its_lease)
      replicas = replicas + 1
    elseif now - seen <= math.max(60000000, 2 * life) then
      others = others + its_sent
    else
      -- Should it come back, it is told apart again.
      redis.call('SET', key .. ':gone:' .. replica, string.format('%.0f', its_sent), 'EX', keep)
      redis.call('HDEL', key, replica)
      gone = gone + its_sent
    end
  end
  if not known then
    local told = redis.call('GET', key .. ':gone:' .. me)
    if told then
      redis.call('DEL', key .. ':gone:' .. me)
      gone = math.max(0, gone - tonumber(told))
    end
  end
  if gone ~= before then
    redis.call('HSET', key, 'gone', string.format('%.0f %.0f 0', gone, gone))
  end
  others = others + gone
  -- Half of an equal share of the rest, so that those who ask later find some; and never less than
  -- this replica has already, unless it gives that up.
  local free = math.max(0, quota - others - sent)
  local share = math.max(math.floor(free / (2 * replicas)), math.min(free, least))
  local lease = math.min(free, want, math.max(held, share))
  redis.call('HSET', key, me, string.format('%.0f %.0f %.0f', sent, sent + lease, now))
  redis.call('EXPIRE', key, keep)
  answers[#answers + 1] = sent + lease
  answers[#answers + 1] = free - lease
  answers[#answers + 1] = replicas
end
return answers
