"""Sends what users do on a site to the topic user_activity: a message every 5 seconds.

A message is sent in the background, and a callback reports its delivery. With --sync it is waited for.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import argparse
import json
import random
import time
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from kafka import KafkaProducer

from pipeline.cli.options import option_parser, whole_number
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.producing import FOREVER_MS, Deliveries
from pipeline.client.settings import connection_settings
from pipeline.topics import TOPIC_PREFIX

TOPIC = TOPIC_PREFIX + "user_activity"
ACTIONS = ("login", "logout", "view", "purchase")
USERS = 500
PRICES = range(500, 50_001, 500)
UNKNOWN_OFFSET = -1
LONGEST_INTERVAL = 86_400.0
ACKS = {"0": 0, "1": 1, "all": "all"}
EXAMPLES = """
    python -m workshops.user_activity.producer_example
    python -m workshops.user_activity.producer_example --count 10 --interval 1 --sync
    python -m workshops.user_activity.producer_example --count 10 --interval 0 --key --acks 1
"""


def make_message(dice: random.Random) -> dict[str, Any]:
    """Make up a message."""
    message: dict[str, Any] = {
        "user_id": dice.randint(1, USERS),
        "action": dice.choice(ACTIONS),
        "timestamp": time.time(),
    }
    if message["action"] == "purchase":
        message["amount"] = dice.choice(PRICES)
    return message


def seconds(text: str) -> float:
    """Parse a time to wait.

    Raises:
        argparse.ArgumentTypeError: the text is no number of seconds, up to a day.
    """
    with suppress(ValueError):
        if 0 <= float(text) <= LONGEST_INTERVAL:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LONGEST_INTERVAL:.0f}")


def success_line(metadata: Any, confirmed: bool) -> str:  # noqa: ANN401, the client has no types
    """Return the line for a message that was sent.

    Args:
        metadata: of its record.
        confirmed: whether the broker confirms messages. With acks=0 nobody knows the offset, and the client
            returns a wrong one: the place in its batch.
    """
    offset = metadata.offset if confirmed else UNKNOWN_OFFSET
    return f"메시지 전송 성공 - 토픽: {metadata.topic}, 파티션: {metadata.partition}, 오프셋: {offset}"


def main() -> None:
    """Send messages until --count is reached or a stop is requested.

    Raises:
        PipelineError: no broker answers, or messages could not be delivered.
    """
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--count", type=whole_number(), metavar="N", help="how many messages (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="between two messages, 0 for as fast as it goes (default: 5)",
    )
    parser.add_argument("--sync", action="store_true", help="wait for each message before the next one")
    parser.add_argument("--key", action="store_true", help="send the user id as key")
    parser.add_argument(
        "--acks",
        choices=ACKS,
        default="all",
        help="who confirms a message: nobody, the leader, or all replicas (default: %(default)s)",
    )
    options = parser.parse_args()
    stop = Stop()
    ensure_topics(options.cluster, TOPIC, partitions=1)
    report_outages(options.cluster)
    log.info(f"Sending to {TOPIC} at {options.cluster}; Ctrl-C to stop.")

    # 1. The producer
    producer = KafkaProducer(
        **connection_settings(options.cluster),
        value_serializer=lambda message: json.dumps(message).encode(),  # values become bytes
        acks=ACKS[options.acks],
        enable_idempotence=options.acks == "all",  # a retry never stores a message twice; needs acks=all
        delivery_timeout_ms=FOREVER_MS,  # wait for an unreachable broker
    )
    line = partial(success_line, confirmed=options.acks != "0")
    deliveries = Deliveries(stop, "messages")
    dice = random.Random()
    for number in range(options.count) if options.count is not None else count():
        if number and stop.wait(options.interval):
            break
        if not deliveries.wait_for_room():
            break
        # 2. A message
        message = make_message(dice)
        deliveries.print(f"메시지 전송: {message}")
        # 3. Send it; the key, if there is one, selects the partition
        key = str(message["user_id"]).encode() if options.key else None
        future = producer.send(TOPIC, key=key, value=message)
        # 4. What became of it: wait for that now, or be called back
        if options.sync:
            deliveries.wait_for(future, line)
        else:
            deliveries.track(future, line)
    deliveries.finish(producer)


if __name__ == "__main__":
    run_kafka_script(main)
