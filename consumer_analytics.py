"""Prints the clean stream: the events of analytics-events, whatever source they came from.

It reads one topic and sees the events of all producers, and never a broken one. It continues where its
consumer group stopped the last time; a new group begins with the oldest event.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import sys

import msgspec
from kafka import KafkaConsumer

from pipeline.cli.options import option_parser, whole_number
from pipeline.cli.process import Stop, nobody_reads
from pipeline.cli.status import Progress, log
from pipeline.client.admin import TopicIds, ensure_topics
from pipeline.client.consuming import StartAt, batches, close, commit, partitions_of, subscribe
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.metrics import serve_metrics
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import place_of
from pipeline.schema import AnalyticsEvent, decode
from pipeline.text import json_line, printable, time_text
from pipeline.topics import ANALYTICS_EVENTS, CONSUMER_GROUP

EXAMPLES = """
    python3 consumer_analytics.py
    python3 consumer_analytics.py --from-beginning --max-messages 10
    python3 consumer_analytics.py --from-beginning --json | jq .details
"""


def for_people(event: AnalyticsEvent) -> str:
    """Return an event as a line that is easy to read."""
    details = "  ".join(f"{name}={value}" for name, value in event.details.items())
    what = f"{event.source:<8}  {event.event_type:<11}  user {event.user_id:<4} {details}"
    return f"{time_text(event.occurred_at)}  {printable(what)}"  # nothing in an event may command a terminal


def main() -> None:
    """Poll, print, commit, until Ctrl-C or --max-messages."""
    parser = option_parser(__doc__, EXAMPLES, group=CONSUMER_GROUP, metrics=True)
    parser.add_argument("--from-beginning", action="store_true", help="start with the oldest event again")
    parser.add_argument("--max-messages", type=whole_number(), metavar="N", help="stop after N events")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, nothing else")
    options = parser.parse_args()
    stop = Stop()
    metrics = serve_metrics(options.metrics_port, options.cluster, options.group, [ANALYTICS_EVENTS])
    ensure_topics(options.cluster, ANALYTICS_EVENTS, reads=[ANALYTICS_EVENTS])
    report_outages(options.cluster)
    log.info(f"Reading {ANALYTICS_EVENTS} at {options.cluster}; Ctrl-C to stop.")

    # 1. The consumer
    consumer = KafkaConsumer(
        **connection_settings(options.cluster),
        group_id=options.group,
        auto_offset_reset="earliest",  # a new group begins with the oldest event
        enable_auto_commit=False,  # we commit, after the events were printed
        isolation_level="read_committed",  # events of a transaction that was aborted do not exist
        session_timeout_ms=6_000,  # after a kill, the next consumer of the group waits that long
    )
    beginning = None
    if options.from_beginning:
        firsts = consumer.beginning_offsets(partitions_of(consumer, ANALYTICS_EVENTS))
        beginning = StartAt(consumer, firsts)
    topic_ids = TopicIds(options.cluster, [ANALYTICS_EVENTS])  # notices that it was recreated
    subscribe(consumer, ANALYTICS_EVENTS, listener=beginning)

    # 2. The loop: poll, print, commit
    progress = Progress("events read")
    try:
        for batch in batches(consumer, stop, options.max_messages, topic_ids=topic_ids, metrics=metrics):
            for record in batch:
                try:
                    event = decode(record.value or b"")
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    metrics.skipped()
                    log.warning(f"Not an analytics event: {place_of(record)}")
                else:
                    print(json_line(record.value.decode()) if options.json else for_people(event))
                progress.add()
            if batch:
                sys.stdout.flush()
                consumer.commit_async()  # after printing: a kill may print some twice, but leaves none out
            elif nobody_reads():  # as after `| head`
                break
        commit(consumer)
    finally:
        # 3. The end: leave the group, also when nobody reads what is printed (`| head`). The next consumer of
        #    the group would wait for a dead member until its session ends.
        close(consumer)
        progress.end()
    log.info(f"Stopped after {progress.count} events.")


if __name__ == "__main__":
    run_kafka_script(main)
