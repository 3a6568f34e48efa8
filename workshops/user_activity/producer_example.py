"""Sends what users do on a site to the topic user_activity: a message every 5 seconds.

A message is sent in the background; a callback tells what became of it. With --sync each one is waited for.
"""

import argparse
import json
import random
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics
from pipeline.event_producer import FOREVER_MS, MAX_IN_FLIGHT, flush_and_close
from pipeline.options import option_parser, whole_number
from pipeline.presence import tell_when_away
from pipeline.process import PipelineError, Stop, run
from pipeline.status import say

TOPIC = PREFIX + "user_activity"
ACTIONS = ("login", "logout", "view", "purchase")
USERS = 500
PRICES = range(500, 50_001, 500)
UNKNOWN_OFFSET = -1
LONGEST_INTERVAL = 86_400.0
ACKS = {"0": 0, "1": 1, "all": "all"}
EXAMPLES = """
    python workshops/user_activity/producer_example.py
    python workshops/user_activity/producer_example.py --count 10 --interval 1 --sync
    python workshops/user_activity/producer_example.py --count 10 --interval 0 --key --acks 1
"""


def make_message(dice: random.Random) -> dict[str, Any]:
    """Make up what a user did."""
    message: dict[str, Any] = {
        "user_id": dice.randint(1, USERS),
        "action": dice.choice(ACTIONS),
        "timestamp": time.time(),
    }
    if message["action"] == "purchase":
        message["amount"] = dice.choice(PRICES)
    return message


def seconds(text: str) -> float:
    """Read how long to wait.

    Raises:
        argparse.ArgumentTypeError: it is not a number of seconds, up to a day.
    """
    with suppress(ValueError):
        if 0 <= float(text) <= LONGEST_INTERVAL:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LONGEST_INTERVAL:.0f}")


class Deliveries:
    """Tells what became of the messages. The client calls sent() and failed() in its thread or in ours."""

    def __init__(self, stop: Stop, confirmed: bool) -> None:
        """Nothing was sent yet.

        Args:
            stop: requested when there is nobody left to tell.
            confirmed: whether the broker confirms messages.
        """
        self.failures = 0
        self.print_error: OSError | None = None
        self._stop = stop
        self._confirmed = confirmed
        self._printing = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_IN_FLIGHT)  # the client's buffer has no limit of its own

    def print(self, line: str) -> None:
        """Print a line as a whole, whichever thread has one."""
        try:
            with self._printing:
                print(line, flush=True)
        except OSError as error:  # the reader left, or the disk is full; to raise would tell nobody
            self.print_error = error
            self._stop.request()

    def wait_for_room(self) -> None:
        """Return when another message may be sent, or a stop is requested."""
        while not self._room.acquire(timeout=0.2) and not self._stop.requested:
            pass

    def sent(self, metadata: Any) -> None:  # noqa: ANN401, the client has no types
        """Tell of a message that the broker confirmed, or that it need not confirm."""
        self._room.release()
        # With acks=0 nobody knows the offset, and the client gives a wrong one: the place in its batch.
        offset = metadata.offset if self._confirmed else UNKNOWN_OFFSET
        where = f"토픽: {metadata.topic}, 파티션: {metadata.partition}, 오프셋: {offset}"
        self.print(f"메시지 전송 성공 - {where}")

    def failed(self, error: Exception) -> None:
        """Tell of a message that the broker did not take."""
        self._room.release()
        self.failures += 1
        say(f"Not delivered: {type(error).__name__}: {error}")


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
    ensure_topics(options.bootstrap_servers, TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)
    say(f"Sending to {TOPIC} at {options.bootstrap_servers}; Ctrl-C to stop.")

    # 1. The producer: where Kafka is, how a value becomes bytes, who has to confirm
    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        value_serializer=lambda message: json.dumps(message).encode(),
        acks=ACKS[options.acks],
        enable_idempotence=options.acks == "all",  # sent once also where it is tried again; needs acks=all
        delivery_timeout_ms=FOREVER_MS,  # a broker that is away is waited for
    )
    deliveries = Deliveries(stop, confirmed=options.acks != "0")
    dice = random.Random()
    for number in range(options.count) if options.count is not None else count():
        if number and stop.wait(options.interval):
            break
        deliveries.wait_for_room()
        if stop.requested:
            break
        # 2. A message
        message = make_message(dice)
        deliveries.print(f"메시지 전송: {message}")
        # 3. On its way: the key, if there is one, chooses the partition
        key = str(message["user_id"]).encode() if options.key else None
        future = producer.send(TOPIC, key=key, value=message)
        # 4. What became of it: wait for that now, or be called when it is known
        if options.sync:
            try:
                deliveries.sent(future.get())
            except KafkaError as error:
                deliveries.failed(error)
        else:
            future.add_callback(deliveries.sent)
            future.add_errback(deliveries.failed)
    flush_and_close(producer, stop, "Stopped before the broker confirmed the last messages.")
    if deliveries.print_error:
        raise deliveries.print_error
    if deliveries.failures:
        raise PipelineError(f"{deliveries.failures} messages could not be delivered.")
    say("Stopped.")


if __name__ == "__main__":
    run(main)
