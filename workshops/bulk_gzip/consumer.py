"""Prints the messages of topic1, and ends when nothing has come for a second.

It continues where its consumer group stopped the last time; a new group begins with the oldest message.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import json

from kafka import KafkaConsumer

from pipeline.cli.options import option_parser
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.consuming import SESSION_MS, close, commit, records, subscribe
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import place_of
from pipeline.text import printable
from pipeline.topics import TOPIC_PREFIX

TOPIC = TOPIC_PREFIX + "topic1"
GROUP = TOPIC_PREFIX + "test-group"
SILENCE_SECONDS = 1.0
EXAMPLES = """
    python -m workshops.bulk_gzip.consumer
"""


def main() -> None:
    """Read and print, until nothing comes any more or a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.cluster, TOPIC, reads=[TOPIC], partitions=1)
    report_outages(options.cluster)

    # 1. A consumer
    consumer = KafkaConsumer(
        **connection_settings(options.cluster),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        session_timeout_ms=SESSION_MS,
    )
    subscribe(consumer, TOPIC)
    print("[Start] get consumer", flush=True)

    try:
        # 2. The loop. A value is decoded here: an error in a value_deserializer would end the loop, and again
        # at every start, as the consumer never gets past this message.
        for record in records(consumer, stop, silence=SILENCE_SECONDS):
            try:
                value = json.loads(record.value)
            except (ValueError, TypeError, RecursionError) as error:
                log.warning(f"Not JSON: {place_of(record)}: {error}")
            else:
                print(
                    f"Topic : {record.topic}, Partition : {record.partition}, Offset : {record.offset}, "
                    f"Key : {record.key}, value : {printable(str(value))}"
                )

        # 3. The end
        commit(consumer)  # what came after the last commit in the background
    finally:
        close(consumer)  # also where the reader of a pipe left: the next consumer need not wait
    if stop.requested:
        log.info("Stopped; there may be more.")
    else:
        print("[End] get consumer", flush=True)


if __name__ == "__main__":
    run_kafka_script(main)
