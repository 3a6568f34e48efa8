"""Part 3: prints the words of output-topic."""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from kafka import KafkaConsumer

from pipeline.cli.options import option_parser
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.consuming import close, commit
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import place_of
from pipeline.text import printable
from pipeline.topics import TOPIC_PREFIX
from workshops.uppercase.topics import OUTPUT_TOPIC, records_across_topics, word_of

GROUP = TOPIC_PREFIX + "final-check-group"
EXAMPLES = """
    python -m workshops.uppercase.part3_consume
"""


def main() -> None:
    """Read, print, commit, until a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.cluster, OUTPUT_TOPIC, reads=[OUTPUT_TOPIC], partitions=1)
    report_outages(options.cluster)

    # 1. A consumer. A new group begins with the oldest word.
    consumer = KafkaConsumer(
        **connection_settings(options.cluster),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # we commit, after the word was printed
    )
    log.info(f"Reading {OUTPUT_TOPIC} at {options.cluster}; Ctrl-C to stop.")

    # 2. The loop
    for record in records_across_topics(consumer, stop, options.cluster, OUTPUT_TOPIC):
        try:
            print(f"Consumed from output-topic: {printable(word_of(record))}", flush=True)
        except ValueError as error:
            log.warning(f"Not a word: {place_of(record)}: {error}")
        commit(consumer)

    close(consumer)
    log.info("Stopped.")


if __name__ == "__main__":
    run_kafka_script(main)
