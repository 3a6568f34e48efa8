"""Sends a thousand messages to topic1, compressed, and tells how many seconds that took.

It waits after each message, as the workshop does. With --batched it waits once, at the end.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from kafka import KafkaProducer
from kafka.errors import KafkaError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics
from pipeline.options import option_parser, whole_number
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.status import say

TOPIC = PREFIX + "topic1"
COUNT = 1000
CLOSE_SECONDS = 2.0
EXAMPLES = """
    python workshops/bulk_gzip/producer.py
    python workshops/bulk_gzip/producer.py --batched
    python workshops/bulk_gzip/producer.py --batched --count 100000
"""


def main() -> None:
    """Send the messages and print how long it took."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--count", type=whole_number(), default=COUNT, metavar="N", help="messages (default: %(default)s)"
    )
    parser.add_argument("--batched", action="store_true", help="send them all, then wait once")
    options = parser.parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)

    # 1. A producer
    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        acks=0,  # the broker does not answer: what it did not get is lost, and nobody knows
        enable_idempotence=False,  # that would need acks="all"
        compression_type="gzip",  # a batch is compressed as a whole
        value_serializer=lambda data: json.dumps(data).encode(),
    )
    start = time.perf_counter()
    # 2. The messages
    sent = 0
    while sent < options.count and not stop.requested:
        producer.send(TOPIC, value={"str": f"result{sent}"})
        sent += 1
        if not options.batched:
            producer.flush()  # waits until it is out: each message is a batch and a request of its own
    producer.flush()
    # 3. The time
    print("[Done]:", time.perf_counter() - start, flush=True)
    if sent:
        measured = producer.metrics()["producer-metrics"]
        say(
            f"{measured['records-per-request-avg']:.1f} messages a request, {measured['batch-size-avg']:.0f} "
            f"bytes a batch, compressed to {measured['compression-rate-avg']:.0%}"
        )
    if sent < options.count:
        say(f"Stopped after {sent} of {options.count} messages.")
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)


if __name__ == "__main__":
    run(main)
