"""Prints the clean stream: the events of analytics-events, whatever source they came from.

It reads one topic and sees the events of all producers, and never a broken one. It goes on where its consumer
group stopped the last time; a new group starts with the oldest event.
"""

import sys
from collections.abc import Collection
from contextlib import suppress
from itertools import chain

import msgspec
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, RetriableError

from pipeline.connection import (
    ANALYTICS_EVENTS,
    CONSUMER_GROUP,
    client_settings,
    ensure_topics,
    subscribe,
)
from pipeline.events import AnalyticsEvent, decode
from pipeline.options import group_name, option_parser, whole_number
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.status import Progress, say
from pipeline.text import printable

POLL_MS = 500
BATCH_RECORDS = 500
CLOSE_MS = 1500
RETRY_SECONDS = 1.0
SESSION_MS = 6000
EXAMPLES = """
    python3 consumer_analytics.py
    python3 consumer_analytics.py --from-beginning --max-messages 10
    python3 consumer_analytics.py --from-beginning --json | jq .details
"""


class FromBeginning(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Starts each partition with its oldest record, the first time that it is assigned."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._started: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Nothing to do: what was printed is committed."""

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Rewind what is new."""
        for partition in set(assigned) - self._started:
            self._consumer.seek_to_beginning(partition)
        self._started.update(assigned)


def for_people(event: AnalyticsEvent) -> str:
    """Give an event as a line that is easy to read."""
    details = "  ".join(f"{name}={value}" for name, value in event.details.items())
    when = event.occurred_at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{when}  {event.source:<8}  {event.event_type:<11}  user {event.user_id:<4} {printable(details)}"


def main() -> None:
    """Poll, print, commit, until Ctrl-C or --max-messages."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--group", type=group_name, default=CONSUMER_GROUP, help="consumer group (default: %(default)s)"
    )
    parser.add_argument("--from-beginning", action="store_true", help="start with the oldest event once more")
    parser.add_argument("--max-messages", type=whole_number(), metavar="N", help="stop after N events")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")
    options = parser.parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, ANALYTICS_EVENTS)
    tell_when_away(options.bootstrap_servers)
    say(f"Reading {ANALYTICS_EVENTS} at {options.bootstrap_servers}; Ctrl-C to stop.")

    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",  # what the processor did not commit does not exist
        session_timeout_ms=SESSION_MS,  # after a kill, the next one of the group waits that long
    )
    subscribe(
        consumer, ANALYTICS_EVENTS, listener=FromBeginning(consumer) if options.from_beginning else None
    )
    progress = Progress("events read")
    while not stop.requested and progress.count != options.max_messages:
        left = BATCH_RECORDS if options.max_messages is None else options.max_messages - progress.count
        try:
            polled = consumer.poll(timeout_ms=POLL_MS, max_records=min(left, BATCH_RECORDS))
        except RetriableError:  # Kafka is away for a while; our place in the topic stays
            stop.wait(RETRY_SECONDS)
            continue
        for record in chain.from_iterable(polled.values()):
            try:
                event = decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                say(f"Not an analytics event: {record.topic}[{record.partition}]@{record.offset}")
            else:
                print(record.value.decode() if options.json else for_people(event))
            progress.add()
        if polled:
            sys.stdout.flush()
            consumer.commit_async()  # after printing: an event may be printed twice, but none is left out

    with suppress(KafkaError):
        consumer.commit(timeout_ms=CLOSE_MS)
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)
    progress.end()
    say(f"Stopped after {progress.count} events.")


if __name__ == "__main__":
    run(main)
