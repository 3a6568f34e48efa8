"""Part 3: prints the words of output-topic."""

import sys
from pathlib import Path

from kafka import KafkaConsumer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import PREFIX, client_settings, ensure_topics
from pipeline.options import option_parser
from pipeline.presence import tell_when_away
from pipeline.process import Stop, run
from pipeline.reading import LOOK_MS, close, commit
from pipeline.status import say
from pipeline.text import printable
from workshops.uppercase.topics import OUTPUT_TOPIC, records_also_of_a_new_topic, word_of

GROUP = PREFIX + "final-check-group"
EXAMPLES = """
    python workshops/uppercase/part3_consume.py
"""


def main() -> None:
    """Read, print, commit, until a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.bootstrap_servers, OUTPUT_TOPIC, partitions=1)
    tell_when_away(options.bootstrap_servers)

    # 1. A consumer. Where its group has read nothing yet, it begins with the oldest word.
    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # we commit, after the word was printed
        consumer_timeout_ms=LOOK_MS,
    )
    say(f"Reading {OUTPUT_TOPIC} at {options.bootstrap_servers}; Ctrl-C to stop.")

    # 2. The loop
    for record in records_also_of_a_new_topic(consumer, stop, options.bootstrap_servers, OUTPUT_TOPIC):
        try:
            print(f"Consumed from output-topic: {printable(word_of(record))}", flush=True)
        except ValueError as error:
            say(f"Not a word: {record.topic}[{record.partition}]@{record.offset}: {error}")
        commit(consumer)

    close(consumer)
    say("Stopped.")


if __name__ == "__main__":
    run(main)
