"""Part 2: reads words from input-topic and sends them, upper-cased, to output-topic."""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from contextlib import suppress

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from pipeline.cli.options import option_parser
from pipeline.cli.process import Stop
from pipeline.cli.status import log
from pipeline.client.admin import ensure_topics
from pipeline.client.consuming import close, commit
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.producing import FOREVER_MS
from pipeline.client.settings import connection_settings
from pipeline.dead_letters import place_of
from pipeline.text import printable
from pipeline.topics import TOPIC_PREFIX
from workshops.uppercase.topics import INPUT_TOPIC, OUTPUT_TOPIC, records_across_topics, word_of

GROUP = TOPIC_PREFIX + "transform-group"
CLOSE_SECONDS = 1.5
EXAMPLES = """
    python -m workshops.uppercase.part2_transform
"""


def main() -> None:
    """Read, upper-case, send, commit, until a stop is requested."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()
    ensure_topics(options.cluster, INPUT_TOPIC, OUTPUT_TOPIC, reads=[INPUT_TOPIC], partitions=1)
    report_outages(options.cluster)

    # 1. A consumer. A new group begins with the oldest word.
    consumer = KafkaConsumer(
        **connection_settings(options.cluster),
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # we commit, after the word was sent on
    )
    # 2. A producer
    producer = KafkaProducer(
        **connection_settings(options.cluster),
        value_serializer=str.encode,
        delivery_timeout_ms=FOREVER_MS,  # wait for an unreachable broker
    )
    log.info(f"Upper-casing {INPUT_TOPIC} to {OUTPUT_TOPIC} at {options.cluster}; Ctrl-C to stop.")

    # 3. The loop
    for record in records_across_topics(consumer, stop, options.cluster, INPUT_TOPIC):
        try:
            transformed = word_of(record).upper()
        except ValueError as error:
            log.warning(f"Not a word: {place_of(record)}: {error}")
        else:
            # The word keeps its key: words of one key stay in order, however many partitions there are.
            sent = producer.send(OUTPUT_TOPIC, key=record.key, value=transformed)
            producer.flush()
            sent.get()  # flush() waits, but does not report a failure
            print(f"Transformed and Sent: {printable(transformed)}", flush=True)
        commit(consumer)  # only now: after a kill before this line, the word comes again

    close(consumer)
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)
    log.info("Stopped.")


if __name__ == "__main__":
    run_kafka_script(main)
