"""What a broker takes, gives, and how soon; beside Redis Streams, JetStream and bare files.

produce    records in, by requests that were made before, and by confluent-kafka
consume    the same records back
latency    one record at a time, from who appends to who reads
start      until a broker answers
feeding    requests sent as fast as they are answered; asking: Kafka's, one at a time
jetstream  those of NATS
ours, peer servers in processes of their own

A server has one core and its generator another, where there are two. Figures are medians of turns,
ratios medians of the turns' ratios; what is not installed is left out, and said.
"""

from bastide.base.manifest import Bench
from bastide.engines.log.bench.consume import consume
from bastide.engines.log.bench.latency import latency
from bastide.engines.log.bench.produce import produce, produce_all
from bastide.engines.log.bench.start import start

BENCHES = (
    Bench("produce", "records a second into one broker, acks=1: written when answered", produce),
    Bench("produce_all", "the same with acks=all: synced when answered", produce_all),
    Bench("consume", "records a second out of one broker, by one reader", consume),
    Bench("latency", "1,000 records a second, acks=all: until each is read", latency),
    Bench("start", "until a broker answers", start),
)
