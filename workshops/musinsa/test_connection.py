"""Tests the connection to Kafka: finds the cluster and its topics, sends one message and reads it back."""

import sys
import time
import uuid
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is started

from pipeline.connection import admin_client, client_settings, create_topics
from pipeline.options import option_parser
from pipeline.process import PipelineError, Stop, run
from workshops.musinsa.config import PARTITIONS, PRODUCTS

CONFIRM_SECONDS = 10.0
READ_SECONDS = 10.0
EXAMPLES = """
    python3 workshops/musinsa/test_connection.py
    python3 workshops/musinsa/test_connection.py --bootstrap-servers localhost:9292
"""


def show_cluster(servers: str) -> None:
    """Print what the broker says of itself, and see to it that there is a topic for the test."""
    with admin_client(servers) as admin:
        print(f"✅ Kafka 연결 성공: {servers}")
        print(f"   클러스터 ID: {admin.describe_cluster()['cluster_id']}")
        if PRODUCTS not in admin.list_topics():
            create_topics(admin, [PRODUCTS], PARTITIONS)
        topics = sorted(topic for topic in admin.list_topics() if not topic.startswith("__"))
        print(f"✅ Topic 개수: {len(topics)} - {', '.join(topics)}")


def send(servers: str, value: bytes) -> tuple[TopicPartition, int]:
    """Send a message and give back where the broker put it."""
    producer = KafkaProducer(**client_settings(servers))
    sent = producer.send(PRODUCTS, key=b"test", value=value).get(CONFIRM_SECONDS)
    with suppress(KafkaTimeoutError):
        producer.close(timeout=1)
    print(f"✅ 메시지 발행 성공! Partition: {sent.partition}, Offset: {sent.offset}")
    return TopicPartition(sent.topic, sent.partition), sent.offset


def read_back(servers: str, partition: TopicPartition, offset: int, value: bytes) -> None:
    """Read the record at a place.

    Args:
        servers: bootstrap servers.
        partition: where the message is.
        offset: its place there.
        value: what it must be.

    Raises:
        PipelineError: it does not come, or is another one.
    """
    consumer = KafkaConsumer(**client_settings(servers), enable_auto_commit=False)
    consumer.assign([partition])
    consumer.seek(partition, offset)
    deadline = time.monotonic() + READ_SECONDS
    while not (records := list(chain.from_iterable(consumer.poll(timeout_ms=500, max_records=1).values()))):
        if time.monotonic() > deadline:
            raise PipelineError(f"The message did not come back within {READ_SECONDS:.0f} s.")
    consumer.close(autocommit=False)
    if (records[0].offset, records[0].value) != (offset, value):
        raise PipelineError("Another message came back than the one that was sent.")
    print("✅ 메시지 소비 성공!")


def main() -> None:
    """Do the three steps."""
    servers = option_parser(__doc__, EXAMPLES).parse_args().bootstrap_servers
    Stop()  # Ctrl-C ends this within seconds, whatever it waits for
    show_cluster(servers)
    value = msgspec.json.encode(
        {"message": "연결 테스트", "id": uuid.uuid4()}
    )  # no product: consumers refuse it
    partition, offset = send(servers, value)
    read_back(servers, partition, offset, value)
    print("🎉 모든 테스트 통과!")


if __name__ == "__main__":
    run(main)
