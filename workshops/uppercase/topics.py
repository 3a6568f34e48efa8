"""What the three parts share: names, and a reading loop that survives part 1, which makes the topics anew."""

from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipeline.connection import PREFIX, admin_client, topic_id
from pipeline.process import Stop
from pipeline.reading import records

INPUT_TOPIC = PREFIX + "input-topic"
OUTPUT_TOPIC = PREFIX + "output-topic"

LOOK_SECONDS = 1.0


def records_also_of_a_new_topic(
    consumer: KafkaConsumer, stop: Stop, servers: str, topic: str
) -> Iterator[ConsumerRecord]:
    """Give records as they come, also when the topic is deleted and made anew meanwhile.

    A topic has a name and an id. The client reads by name: where five words were read and five are in the new
    topic, its position of 5 looks as if all were read, and it would wait for the sixth. So we look at the id,
    whenever nothing has come for a moment. If it is another one, we go where the group stands in the new
    topic: the broker forgot the offsets that were committed in the old one.

    For the same reason
    - the consumer must not commit by itself (`enable_auto_commit=False`): when it loses the old topic it
      commits its position once more, and that may already count for the new one;
    - it takes its partition (`assign`) and does not have it given (`subscribe`): while the topic is gone
      its group would agree on nobody reading anything, and kafka-python 3.0.12 does not always come back.

    Args:
        consumer: without a subscription, and made with `consumer_timeout_ms=LOOK_MS`.
        stop: ends the loop.
        servers: bootstrap servers.
        topic: its name.
    """
    admin = admin_client(servers)
    known = topic_id(admin, topic)
    partition = TopicPartition(topic, 0)  # there is only one
    consumer.assign([partition])
    while not stop.requested:
        yield from records(consumer, stop, silence=LOOK_SECONDS)
        try:
            now = topic_id(admin, topic)
            if now is not None and now != known:
                consumer.seek(partition, consumer.committed(partition) or 0)
                known = now
        except KafkaError:  # Kafka is away for a while; the next look will tell
            continue


def word_of(record: ConsumerRecord) -> str:
    """Read the word in a record.

    Raises:
        ValueError: there is none, or it is not UTF-8.
    """
    if record.value is None:
        raise ValueError("null")
    word: str = record.value.decode()
    return word
