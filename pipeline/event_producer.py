"""The send loop that both producers run; what they send, their scripts say."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.connection import client_settings, ensure_topics
from pipeline.options import option_parser, rate, share, whole_number
from pipeline.presence import tell_when_away
from pipeline.process import PipelineError, Stop
from pipeline.status import Progress, say

USERS = 100
MAX_IN_FLIGHT = 10_000  # the client's buffer has no limit of its own
FOREVER_MS = 2**31 - 1
LAST_WORDS_SECONDS = 2.0  # for what is still in flight when a stop is requested
SEEDED_START = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9)))


@dataclass(frozen=True)
class Kind:
    """What makes one producer differ from the other.

    Attributes:
        topic: where its events go.
        make: makes a valid event, the JSON object as a dict.
        spoil: makes a broken value of a valid event.
    """

    topic: str
    make: Callable[[random.Random, int, str], dict[str, Any]]
    spoil: Callable[[random.Random, dict[str, Any]], bytes]


class Deliveries:
    """What became of the events in flight.

    The client calls sent() and failed() in a thread of its own, or, where it was faster than the loop that
    asks it to call, in that loop.
    """

    def __init__(self, stop: Stop) -> None:
        self.progress = Progress("events sent")
        self.failures = 0
        self.print_error: OSError | None = None
        self._stop = stop
        self._telling = threading.Lock()  # two lines at once would end as one line and an empty one
        self._room = threading.BoundedSemaphore(MAX_IN_FLIGHT)

    def wait_for_room(self) -> None:
        """Return when another event may be sent, or a stop is requested."""
        while not self._room.acquire(timeout=0.2) and not self._stop.requested:
            pass

    def sent(self, label: str, value: bytes, metadata: Any) -> None:  # noqa: ANN401, the client has no types
        """Tell of an event: it is in the topic now, so its line is true whatever happens next."""
        where = f"{metadata.topic}[{metadata.partition}]@{metadata.offset}"
        try:
            with self._telling:
                print(f"{label} {where} {value.decode()}", flush=True)
                self.progress.add()
        except OSError as error:  # the reader left, or the disk is full; to raise here would tell nobody
            self.print_error = error
            self._stop.request()
        finally:
            self._room.release()

    def failed(self, error: KafkaError) -> None:
        """Count an event that the broker did not take."""
        with self._telling:
            if self.failures == 0:
                say(f"Not delivered: {type(error).__name__}: {error}")
            self.failures += 1
        self._room.release()


def send_events(kind: Kind, description: str, examples: str) -> None:
    """Send events until --count is reached or a stop is requested.

    Args:
        kind: which events.
        description: for --help.
        examples: for --help.

    Raises:
        PipelineError: no broker answers, or events could not be delivered.
    """
    options = _parse_options(description, examples)
    stop = Stop()
    ensure_topics(options.bootstrap_servers, kind.topic)
    tell_when_away(options.bootstrap_servers)
    say(f"Sending to {kind.topic} at {options.bootstrap_servers}; Ctrl-C to stop.")

    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        linger_ms=5,
        # Wait for a broker that is away as long as it takes: after a record has expired, kafka-python 3.0.12
        # sends no other either. MAX_IN_FLIGHT keeps the memory small meanwhile.
        delivery_timeout_ms=FOREVER_MS,
    )
    deliveries = Deliveries(stop)
    dice = random.Random(options.seed)
    started = time.monotonic()
    for number in range(options.count) if options.count is not None else count():
        if options.rate and stop.wait(max(0.0, started + number / options.rate - time.monotonic())):
            break
        deliveries.wait_for_room()
        if stop.requested:
            break
        event = kind.make(dice, dice.randint(1, USERS), _timestamp(options.seed, number))
        broken = dice.random() < options.broken
        value = kind.spoil(dice, event) if broken else msgspec.json.encode(event)
        # The key keeps one user's events in one partition, and so in order.
        future = producer.send(kind.topic, key=str(event["user_id"]).encode(), value=value)
        future.add_callback(deliveries.sent, "broken" if broken else "sent  ", value)
        future.add_errback(deliveries.failed)
    last_words = "Stopped before the broker confirmed the last events; those are not told as sent."
    flush_and_close(producer, stop, last_words)
    _tell(deliveries)


def flush_and_close(producer: KafkaProducer, stop: Stop, last_words: str) -> None:
    """Wait for what is in flight: as long as it takes, but not much longer than until a stop is requested.

    Args:
        producer: sends nothing new any more.
        stop: ends the waiting, and the process with it.
        last_words: what the user should know then.
    """
    while True:
        try:
            producer.flush(timeout=LAST_WORDS_SECONDS)
            producer.close()
            return
        except KafkaError:
            if stop.requested:
                stop.end(last_words)


def _tell(deliveries: Deliveries) -> None:
    deliveries.progress.end()
    if deliveries.print_error:
        raise deliveries.print_error
    say(f"Sent {deliveries.progress.count} events.")
    if deliveries.failures:
        raise PipelineError(f"{deliveries.failures} events could not be delivered.")


def _timestamp(seed: int | None, number: int) -> str:
    """RFC 3339 with offset; with a seed it counts seconds, so that a second run sends the same."""
    when = datetime.now().astimezone() if seed is None else SEEDED_START + timedelta(seconds=number)
    return when.isoformat(timespec="milliseconds")


def _parse_options(description: str, examples: str) -> Any:  # noqa: ANN401, argparse's namespace
    parser = option_parser(description, examples)
    parser.add_argument(
        "--count", type=whole_number(), metavar="N", help="how many events (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--rate", type=rate, default=1.0, metavar="R",
        help="events per second, 0 for as fast as it goes (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--broken",
        type=share,
        default=0.2,
        metavar="F",
        help="share of broken events, 0 to 1 (default: 0.2)",
    )
    parser.add_argument("--seed", type=int, metavar="S", help="the same events again for the same number")
    return parser.parse_args()
