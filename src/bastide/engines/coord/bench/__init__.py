"""What a group takes, and how soon: beside a real etcd, and PySyncObj, in the same run.

put        64 clients, each a connection with one put at a time, 256 bytes of value, synced by a
           majority before it is answered; to the leader, and spread over all three
get        the same with reads: linearizable, and of one node alone (serializable)
lock       a lock acquired and released, one after the other, by our own client
failover   the leader is killed (-9): until the next put is acknowledged; elections after 1,000 ms
waiters    1,000 wait for one lock, and get it one by one

Servers are processes, ours as `bastide up` starts them. One load for both: gRPC's bytes are made
before, so that the client's own work is small. On a machine of few cores all share them.

servers    the processes     load    gRPC's bytes
keys       put and get       locks   lock, failover, waiters     syncobj  a process of PySyncObj
"""

from bastide.base.manifest import Bench
from bastide.engines.coord.bench.keys import get, put, put_alone
from bastide.engines.coord.bench.locks import failover, lock, waiters

BENCHES = (
    Bench("put", "puts a second by 64 clients into three nodes, synced", put),
    Bench("put_alone", "the same into a group of one", put_alone),
    Bench("get", "gets a second by 64 clients, linearizable and serializable", get),
    Bench("lock", "locks acquired and released a second, one at a time", lock),
    Bench("failover", "the leader is killed: until the next put is acknowledged", failover),
    Bench("waiters", "1,000 who wait for one lock, until all have had it", waiters),
)
