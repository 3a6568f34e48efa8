"""Sends a thousand messages to topic1, compressed, and prints how many seconds that took.

It waits after each message, as the workshop does. With --batched it waits once, at the end.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import json
import time
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.cli.options import option_parser, whole_number
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.settings import connection_settings
from pipeline.topics import TOPIC_PREFIX

TOPIC = TOPIC_PREFIX + "topic1"
COUNT = 1000
CLOSE_SECONDS = 2.0
EXAMPLES = """
    python -m workshops.bulk_gzip.producer
    python -m workshops.bulk_gzip.producer --batched
    python -m workshops.bulk_gzip.producer --batched --count 100000
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
    ensure_topics(options.cluster, TOPIC, partitions=1)
    report_outages(options.cluster)

    # 1. A producer
    producer = KafkaProducer(
        **connection_settings(options.cluster),
        acks=0,  # the broker does not answer: a message that it did not receive is lost without an error
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
            producer.flush()  # waits until it is sent: each message is a batch and a request of its own
    producer.flush()
    # 3. The time
    print("[Done]:", time.perf_counter() - start, flush=True)
    if sent:
        measured = producer.metrics()["producer-metrics"]
        log.info(
            f"{measured['records-per-request-avg']:.1f} messages a request, {measured['batch-size-avg']:.0f} "
            f"bytes a batch, compressed to {measured['compression-rate-avg']:.0%}"
        )
    if sent < options.count:
        log.info(f"Stopped after {sent} of {options.count} messages.")
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)


if __name__ == "__main__":
    run_kafka_script(main)
