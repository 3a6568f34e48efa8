"""Prints the messages of topic1, and ends when nothing has come for a second.

It goes on where its consumer group stopped the last time; a new group starts with the oldest message.
"""

import json
import sys
from pathlib import Path

from kafka import KafkaConsumer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics, subscribe
from pipeline.options import option_parser
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.reading import LOOK_MS, SESSION_MS, close, commit, records
from pipeline.status import say
from pipeline.text import printable

TOPIC = PREFIX + "topic1"
GROUP = PREFIX + "test-group"
SILENCE_SECONDS = 1.0
EXAMPLES = """
    python workshops/bulk_gzip/consumer.py
"""


def main() -> None:
    """Read and print, until nothing comes any more or a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)

    # 1. A consumer
    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        session_timeout_ms=SESSION_MS,
        consumer_timeout_ms=LOOK_MS,  # not the second of silence: joining the group may take longer
    )
    subscribe(consumer, TOPIC)
    print("[Start] get consumer", flush=True)

    # 2. The loop. A value is decoded here: an error in a value_deserializer would end the loop, and come
    # again at every start, as the consumer gets no further than to this message.
    for record in records(consumer, stop, silence=SILENCE_SECONDS):
        try:
            value = json.loads(record.value)
        except (ValueError, TypeError, RecursionError) as error:
            say(f"Not JSON: {record.topic}[{record.partition}]@{record.offset}: {error}")
        else:
            print(
                f"Topic : {record.topic}, Partition : {record.partition}, Offset : {record.offset}, "
                f"Key : {record.key}, value : {printable(str(value))}"
            )

    # 3. The end
    commit(consumer)  # what came after the last commit in the background
    close(consumer)
    if stop.requested:
        say("Stopped; there may be more.")
    else:
        print("[End] get consumer", flush=True)


if __name__ == "__main__":
    run(main)
