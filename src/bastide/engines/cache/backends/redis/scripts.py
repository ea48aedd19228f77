"""What must happen at one moment in the server, in Lua.

Keys of one server, all below bastide:RUN: (its run id, so that a server that was started again, and
may have read an old file, answers nothing of before):

    CLIENT:v:KEY   a value, "+" before it; "-" is: there is no such thing
    CLIENT:t:KEY   the token of those who load or put it now; whoever takes the key back deletes it
    CLIENT:n:KEY   a sum
    CLIENT:f:NAME  the newest token of a fence that this server has seen, as 19 digits
    :roll          hash: who has a near cache, by holder; "#" counts invalidations
    :bell          changed by each invalidation: near caches track it

A value is written in one way alone: by KEEP, with a token. So a command that its sender has given
up, and that the server runs later, brings nothing back: its token has gone.

For Redis, a script with a command that reads has read all its keys, and they would be tracked: so
GETEX, which counts as writing, asks here what GET would.

A holder's field is "HEARD BEATS": the last invalidation whose pushes it has worked off, and how
many times it has said so.
"""

from collections.abc import Mapping

ENROL = """
redis.call('HSET', KEYS[1], ARGV[1], '0 0')
return redis.call('HINCRBY', KEYS[1], '#', 0)
"""

BEAT = """
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then
    redis.call('HDEL', KEYS[1], ARGV[1])
    return -1
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return redis.call('HINCRBY', KEYS[1], '#', 0)
"""

# With a fence, its name and token: an older one than the newest keeps nothing, and is told that. If
# its own load or put was taken back, what an older one may have put meanwhile goes too.
KEEP = """
if KEYS[3] then
    local newest = redis.call('GETEX', KEYS[3])
    if newest and ARGV[4] < newest then return newest end
    redis.call('SET', KEYS[3], ARGV[4], 'PX', 2592000000)
end
if redis.call('GETEX', KEYS[2]) ~= ARGV[1] then
    if KEYS[3] then redis.call('DEL', KEYS[1]) end
    return 0
end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# As text, since Lua's numbers hold 53 bits. The lowest of 64 bits has no opposite: it is undone.
INCREMENT = """
redis.call('SET', KEYS[1], 0, 'NX', 'PX', ARGV[2])
redis.call('INCRBY', KEYS[1], ARGV[1])
local sum = redis.call('GETEX', KEYS[1])
if sum == '-9223372036854775808' then
    redis.call('DECRBY', KEYS[1], ARGV[1])
    return redis.error_reply('ERR increment or decrement would overflow')
end
return sum
"""

INVALIDATE = """
for n = 3, #KEYS do redis.call('DEL', KEYS[n]) end
redis.call('SET', KEYS[2], '', 'PX', 86400000)
return redis.call('HINCRBY', KEYS[1], '#', 1)
"""

# Only if it has not beaten since: then its lease is over.
STRIKE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""

SCRIPTS: Mapping[str, str] = {
    "enrol": ENROL,
    "beat": BEAT,
    "keep": KEEP,
    "increment": INCREMENT,
    "invalidate": INVALIDATE,
    "strike": STRIKE,
}
