"""What the three parts share: names, and a reading loop that survives part 1, which recreates the topics."""

from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import Stop
from pipeline.client.admin import admin_client, topic_id
from pipeline.client.consuming import records
from pipeline.topics import TOPIC_PREFIX

INPUT_TOPIC = TOPIC_PREFIX + "input-topic"
OUTPUT_TOPIC = TOPIC_PREFIX + "output-topic"

CHECK_SECONDS = 1.0


def records_across_topics(
    consumer: KafkaConsumer, stop: Stop, cluster: Cluster, topic: str
) -> Iterator[ConsumerRecord]:
    """Read records as they come, also when the topic is deleted and recreated meanwhile.

    A topic has a name and an id (KIP-516), and the client reads by name. When it has read five words and the
    recreated topic has five, its position of 5 looks like the end, and it would wait for a sixth word. So
    this checks the id whenever nothing has come for a moment. If the id has changed, it seeks the committed
    offset of the group: the broker deleted the one of the old topic.

    For the same reason
    - the consumer must not commit in the background (`enable_auto_commit=False`): when it loses the old topic
      it commits its position once more, and the broker may already apply that to the new topic;
    - it uses `assign` and not `subscribe`: while the topic does not exist, the group would assign no
    partition
      to anybody, and kafka-python 3.0.12 does not always recover from that.

    Args:
        consumer: without a subscription.
        stop: ends the loop.
        cluster: where Kafka is, and how to connect.
        topic: its name.
    """
    admin = admin_client(cluster)
    known = topic_id(admin, topic)
    partition = TopicPartition(topic, 0)  # there is only one
    consumer.assign([partition])
    while not stop.requested:
        yield from records(consumer, stop, silence=CHECK_SECONDS)
        try:
            now = topic_id(admin, topic)
            if now is not None and now != known:
                consumer.seek(partition, consumer.committed(partition) or 0)
                known = now
        except KafkaError:  # Kafka is unreachable; the next check will show
            continue


def word_of(record: ConsumerRecord) -> str:
    """Return the word in a record.

    Raises:
        ValueError: the value is null or not UTF-8.
    """
    if record.value is None:
        raise ValueError("null")
    word: str = record.value.decode()
    return word
