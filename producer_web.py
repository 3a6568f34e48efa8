"""Sends what users do on a web site to the topic web-events.

Some of the events miss a field. That is on purpose: the stream processor has to cope with them.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import random
from typing import Any
from uuid import UUID

import msgspec
from kafka import KafkaProducer

from pipeline.cli.options import producer_parser
from pipeline.cli.pacing import event_time, paced
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.producing import FOREVER_MS, Deliveries, event_line
from pipeline.client.settings import connection_settings
from pipeline.topics import WEB_EVENTS

USERS = 100
EVENT_TYPES = ("page_view", "click", "search", "add_to_cart")
PAGES = ("/", "/products", "/products/17", "/products/42", "/search?q=kafka", "/cart")
EXAMPLES = """
    python3 producer_web.py                              # one event per second, until Ctrl-C
    python3 producer_web.py --count 100 --rate 0         # a hundred at once
    python3 producer_web.py --count 10 --broken 0 --seed 1
"""


def make_event(dice: random.Random, timestamp: str) -> dict[str, Any]:
    """Make up a valid web event."""
    user_id = dice.randint(1, USERS)
    return {
        "event_id": str(UUID(int=dice.getrandbits(128), version=4)),
        "event_type": dice.choice(EVENT_TYPES),
        "user_id": user_id,
        "page": dice.choice(PAGES),
        "timestamp": timestamp,
    }


def break_event(dice: random.Random, event: dict[str, Any]) -> bytes:
    """Return the value of a broken web event: one that misses a field."""
    missing = dice.choice(list(event))
    return msgspec.json.encode({name: value for name, value in event.items() if name != missing})


def main() -> None:
    """Send web events until --count is reached or a stop is requested."""
    options = producer_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.cluster, WEB_EVENTS)
    report_outages(options.cluster)
    log.info(f"Sending to {WEB_EVENTS} at {options.cluster}; Ctrl-C to stop.")

    # 1. The producer. By default it is idempotent: a retry of the client never stores an event twice.
    producer = KafkaProducer(
        **connection_settings(options.cluster),
        compression_type=options.cluster.compression,  # of --config; by default none
        linger_ms=5,  # events of the same 5 ms share a request
        # Wait for an unreachable broker as long as it takes: after one record has expired, kafka-python
        # 3.0.12 sends nothing more. wait_for_room() limits the events in flight meanwhile.
        delivery_timeout_ms=FOREVER_MS,
    )

    # 2. The send loop
    deliveries = Deliveries(stop, "events")
    dice = random.Random(options.seed)
    for number in paced(options.count, options.rate, stop):
        if not deliveries.wait_for_room():
            break
        event = make_event(dice, event_time(options.seed, number))
        event_id, value = event["event_id"], msgspec.json.encode(event)
        if dice.random() < options.broken:
            event_id, value = None, break_event(dice, event)  # it becomes no analytics event
        # The key keeps the events of one user in one partition, and so in order.
        future = producer.send(WEB_EVENTS, key=str(event["user_id"]).encode(), value=value)
        # Printed when the broker has confirmed it
        deliveries.track(future, event_line(value, event_id, options.json))

    # 3. The end: wait until the broker has confirmed the last event
    deliveries.finish(producer)


if __name__ == "__main__":
    run_kafka_script(main)
