"""What an event costs, and how soon it has its effect: on files, synced, as a town would keep them.

lags       2,000 events a second, each in a transaction of its own: until each is in the log, and
           until its effect is committed
rates      events through outbox, log and handler, as many as go; beside the same rows without
recording  events without a row, through journal, log and handler; beside a bare seglog
street     two systems on one log

All is in one process on one loop, the publishers too, as in a town: what they cost is in the
figures. Those of rates are medians of turns.
"""

from bastide.base.manifest import Bench
from bastide.engines.bus.bench.lags import lag
from bastide.engines.bus.bench.rates import most
from bastide.engines.bus.bench.recording import record

BENCHES = (
    Bench("lag", "2,000 events a second: until each is in the log, and has its effect", lag),
    Bench("most", "events a second through outbox, log and handler", most),
    Bench("record", "events without a row: the call, and a second through to their effect", record),
)
