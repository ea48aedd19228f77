"""What librdkafka's tests use of Kafka's kafka-topics.sh, without Java: by confluent-kafka's admin.

python -m tools.librdkafka_topics --bootstrap-server HOST:PORT --create --topic T
    --partitions N --replication-factor N [--config KEY=VALUE]...
python -m tools.librdkafka_topics --bootstrap-server HOST:PORT --alter --topic T --partitions N
python -m tools.librdkafka_topics --bootstrap-server HOST:PORT --delete --topic T

Ends with 1, and the broker's reason, if the broker refuses.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

WAIT_S = 15.0


def main(words: Sequence[str]) -> int:
    asked = _asked(words)
    admin = AdminClient({"bootstrap.servers": asked.bootstrap_server})
    try:
        _done(admin, asked)[asked.topic].result()
    except KafkaException as refused:
        print(f"{asked.topic}: {refused}", file=sys.stderr)
        return 1
    return 0


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.librdkafka_topics")
    parser.add_argument("--bootstrap-server", required=True)
    verbs = parser.add_mutually_exclusive_group(required=True)
    for verb in ("create", "alter", "delete"):
        verbs.add_argument(f"--{verb}", dest="verb", action="store_const", const=verb)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--replication-factor", type=int, default=1)
    parser.add_argument("--config", action="append", default=[])
    return parser.parse_args(words)


def _done(admin: AdminClient, asked: argparse.Namespace) -> dict[str, Future[None]]:
    if asked.verb == "delete":
        return admin.delete_topics([asked.topic], operation_timeout=WAIT_S)
    if asked.verb == "alter":
        wanted = NewPartitions(asked.topic, asked.partitions)
        return admin.create_partitions([wanted], operation_timeout=WAIT_S)
    config = dict(pair.split("=", 1) for pair in asked.config)
    topic = NewTopic(asked.topic, asked.partitions, asked.replication_factor, config=config)
    return admin.create_topics([topic], operation_timeout=WAIT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
