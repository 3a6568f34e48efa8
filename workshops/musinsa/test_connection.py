"""Tests the connection to Kafka: finds the cluster and its topics, sends one message and reads it back."""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import time
import uuid
from contextlib import suppress
from itertools import chain

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import option_parser
from pipeline.cli.process import PipelineError, Stop, Stopped
from pipeline.client.admin import admin_client, create_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.settings import connection_settings
from workshops.musinsa.config import PARTITIONS, PRODUCTS
from workshops.musinsa.stopping import Patience

CONFIRM_SECONDS = 10.0
READ_SECONDS = 10.0
EXAMPLES = """
    python -m workshops.musinsa.test_connection
    python -m workshops.musinsa.test_connection --bootstrap-servers localhost:9292
"""


def show_cluster(cluster: Cluster) -> None:
    """Print what the broker reports about itself, and create the topic of the test where it is missing."""
    with admin_client(cluster) as admin:
        print(f"✅ Kafka 연결 성공: {cluster}")
        print(f"   클러스터 ID: {admin.describe_cluster()['cluster_id']}")
        if PRODUCTS not in admin.list_topics():
            create_topics(admin, [PRODUCTS], PARTITIONS)
        topics = sorted(topic for topic in admin.list_topics() if not topic.startswith("__"))
        print(f"✅ Topic 개수: {len(topics)} - {', '.join(topics)}")


def send(cluster: Cluster, value: bytes, patience: Patience) -> tuple[TopicPartition, int]:
    """Send a message and return its place.

    Raises:
        PipelineError: a stop was requested before the broker confirmed it.
    """
    producer = patience.call(lambda: KafkaProducer(**connection_settings(cluster)))
    try:
        sent = patience.call(lambda: producer.send(PRODUCTS, key=b"test", value=value).get(CONFIRM_SECONDS))
    except Stopped as stopped:
        raise PipelineError("Stopped before Kafka confirmed the message.") from stopped
    with suppress(KafkaTimeoutError):
        producer.close(timeout=1)
    print(f"✅ 메시지 발행 성공! Partition: {sent.partition}, Offset: {sent.offset}")
    return TopicPartition(sent.topic, sent.partition), sent.offset


def read_back(cluster: Cluster, partition: TopicPartition, offset: int, value: bytes) -> None:
    """Read a record back.

    Args:
        cluster: where Kafka is, and how to connect.
        partition: of the message.
        offset: of the message.
        value: the expected value.

    Raises:
        PipelineError: it does not arrive, or has another value.
    """
    consumer = KafkaConsumer(**connection_settings(cluster), enable_auto_commit=False)
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
    """Show the cluster, send a message, read it back."""
    cluster = option_parser(__doc__, EXAMPLES).parse_args().cluster
    patience = Patience(Stop())
    patience.call(lambda: show_cluster(cluster))
    value = msgspec.json.encode(
        {"message": "연결 테스트", "id": uuid.uuid4()}
    )  # no product: consumers refuse it
    partition, offset = send(cluster, value, patience)
    patience.call(lambda: read_back(cluster, partition, offset, value))
    print("🎉 모든 테스트 통과!")


if __name__ == "__main__":
    run_kafka_script(main)
