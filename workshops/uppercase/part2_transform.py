"""Part 2: reads words from input-topic and sends them, upper-cased, to output-topic."""

import sys
from contextlib import suppress
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics
from pipeline.event_producer import FOREVER_MS
from pipeline.options import option_parser
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.reading import LOOK_MS, close, commit
from pipeline.status import say
from pipeline.text import printable
from workshops.uppercase.topics import INPUT_TOPIC, OUTPUT_TOPIC, records_also_of_a_new_topic, word_of

GROUP = PREFIX + "transform-group"
CLOSE_SECONDS = 1.5
EXAMPLES = """
    python workshops/uppercase/part2_transform.py
"""


def main() -> None:
    """Read, upper-case, send, commit, until a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, INPUT_TOPIC, OUTPUT_TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)

    # 1. A consumer. Where its group has read nothing yet, it begins with the oldest word.
    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # we commit, after the word was sent on
        consumer_timeout_ms=LOOK_MS,
    )
    # 2. A producer
    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        value_serializer=str.encode,
        delivery_timeout_ms=FOREVER_MS,  # a broker that is away is waited for
    )
    say(f"Upper-casing {INPUT_TOPIC} to {OUTPUT_TOPIC} at {options.bootstrap_servers}; Ctrl-C to stop.")

    # 3. The loop
    for record in records_also_of_a_new_topic(consumer, stop, options.bootstrap_servers, INPUT_TOPIC):
        try:
            transformed = word_of(record).upper()
        except ValueError as error:
            say(f"Not a word: {record.topic}[{record.partition}]@{record.offset}: {error}")
        else:
            # The word keeps its key: words of one key stay in order, however many partitions there are.
            sent = producer.send(OUTPUT_TOPIC, key=record.key, value=transformed)
            producer.flush()
            sent.get()  # flush() waits, but does not tell whether it went well
            print(f"Transformed and Sent: {printable(transformed)}", flush=True)
        commit(consumer)  # only now: had we been killed before, the word would come again

    close(consumer)
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)
    say("Stopped.")


if __name__ == "__main__":
    run(main)
