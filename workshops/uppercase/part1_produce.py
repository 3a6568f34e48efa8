"""Part 1: recreates input-topic and output-topic, and sends five words to input-topic.

The records that were in the two topics are deleted.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import time
from collections.abc import Collection
from contextlib import suppress

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from pipeline.cli.options import option_parser
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import log
from pipeline.client.admin import admin_client, create_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.health import report_outages
from pipeline.client.settings import connection_settings
from workshops.uppercase.topics import INPUT_TOPIC, OUTPUT_TOPIC

WORDS = ("hello", "world", "kafka", "streaming", "data")
KEY = "words"  # one key for all keeps them in one partition, and so in order
TOPIC_SECONDS = 10.0
PAUSE_SECONDS = 0.1
CLOSE_SECONDS = 2.0
EXAMPLES = """
    python -m workshops.uppercase.part1_produce
"""


def recreate_topics(admin: KafkaAdminClient, topics: Collection[str]) -> None:
    """Delete the topics that exist, and create all.

    A topic that is being deleted can't be created. And a consumer or producer of it that runs meanwhile may
    create it by asking for it, with the broker's default number of partitions. So this tries until the topic
    was created here.

    Raises:
        PipelineError: the broker refuses, or somebody else was always faster.
    """
    reported: set[str] = set()
    missing = set(topics)
    deadline = time.monotonic() + TOPIC_SECONDS
    while missing:
        for topic in sorted(missing & set(admin.list_topics())):
            with suppress(UnknownTopicOrPartitionError):  # it was deleted meanwhile
                admin.delete_topics([topic])
            if topic not in reported:
                print(f"기존 토픽 '{topic}' 삭제 완료", flush=True)
                reported.add(topic)
        missing -= set(create_topics(admin, missing, partitions=1))
        if missing:
            if time.monotonic() > deadline:
                raise PipelineError(f"Topic {min(missing)} is created again whenever it is deleted.")
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Recreate the topics, send the words."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()

    # 1. An admin client
    with admin_client(options.cluster) as admin:
        # 2. The topics, new and empty
        recreate_topics(admin, (INPUT_TOPIC, OUTPUT_TOPIC))
    report_outages(options.cluster)
    print(f"새로운 토픽 '{INPUT_TOPIC}' 및 '{OUTPUT_TOPIC}' 생성 완료", flush=True)

    # 3. A producer; keys and values become bytes
    producer = KafkaProducer(
        **connection_settings(options.cluster),
        key_serializer=str.encode,
        value_serializer=str.encode,
    )
    # 4. The words. send() only puts a word into a buffer, get() waits until the broker has it.
    for word, future in [(word, producer.send(INPUT_TOPIC, key=KEY, value=word)) for word in WORDS]:
        future.get()
        print(f"Sent: {word}", flush=True)
        if stop.requested:
            break
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)
    log.info("Done. Part 2 makes the words upper-case.")


if __name__ == "__main__":
    run_kafka_script(main)
