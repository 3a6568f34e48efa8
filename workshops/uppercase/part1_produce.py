"""Part 1: makes input-topic and output-topic anew, and sends five words to input-topic.

What was in the two topics is gone then.
"""

import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import admin_client, client_settings, create_topics
from pipeline.options import option_parser
from pipeline.presence import tell_when_away
from pipeline.process import PipelineError, Stop, run
from pipeline.status import say
from workshops.uppercase.topics import INPUT_TOPIC, OUTPUT_TOPIC

WORDS = ("hello", "world", "kafka", "streaming", "data")
KEY = "words"  # one key for all: were there more partitions, they would still be in one, and in order
TOPIC_SECONDS = 10.0
PAUSE_SECONDS = 0.1
CLOSE_SECONDS = 2.0
EXAMPLES = """
    python workshops/uppercase/part1_produce.py
"""


def make_topics_anew(admin: KafkaAdminClient, topics: Collection[str]) -> None:
    """Delete the topics that exist, and create all.

    A topic that is being deleted can't be created, and a consumer or producer of it that runs meanwhile makes
    it at once by asking for it, with as many partitions as the broker likes. So we try until it was us.

    Raises:
        PipelineError: the broker refuses, or it was never us.
    """
    told: set[str] = set()
    missing = set(topics)
    deadline = time.monotonic() + TOPIC_SECONDS
    while missing:
        for topic in sorted(missing & set(admin.list_topics())):
            with suppress(UnknownTopicOrPartitionError):  # it is gone already
                admin.delete_topics([topic])
            if topic not in told:
                print(f"기존 토픽 '{topic}' 삭제 완료", flush=True)
                told.add(topic)
        missing -= set(create_topics(admin, missing, partitions=1))
        if missing:
            if time.monotonic() > deadline:
                raise PipelineError(f"Topic {min(missing)} comes back whenever it is deleted.")
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Make the topics, send the words."""
    options = option_parser(__doc__, EXAMPLES).parse_args()
    stop = Stop()

    # 1. An admin client
    with admin_client(options.bootstrap_servers) as admin:
        # 2. The topics, new and empty
        make_topics_anew(admin, (INPUT_TOPIC, OUTPUT_TOPIC))
    tell_when_away(options.bootstrap_servers)
    print(f"새로운 토픽 '{INPUT_TOPIC}' 및 '{OUTPUT_TOPIC}' 생성 완료", flush=True)

    # 3. A producer; keys and values become bytes
    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        key_serializer=str.encode,
        value_serializer=str.encode,
    )
    # 4. The words. send() only puts them into a buffer, get() waits until the broker has them.
    for word, future in [(word, producer.send(INPUT_TOPIC, key=KEY, value=word)) for word in WORDS]:
        future.get()
        print(f"Sent: {word}", flush=True)
        if stop.requested:
            break
    with suppress(KafkaError):
        producer.close(timeout=CLOSE_SECONDS)
    say("Done. Part 2 makes the words upper-case.")


if __name__ == "__main__":
    run(main)
