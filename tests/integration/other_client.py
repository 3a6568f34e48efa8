"""Another client, librdkafka: it sends what kafka-python can't, and judges what came out byte for byte."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from tests.faults import account
from tests.integration.pipelines import LIMIT_BYTES, Pipeline, wait_until

Headers = Sequence[tuple[str, bytes | None]]
SECONDS = 30


class Seen(NamedTuple):
    """A record as librdkafka reads it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


def send(
    pipeline: Pipeline, records: Sequence[Mapping[str, Any]], topic: str = "", **settings: object
) -> None:
    """Send records, and check that each is in its topic; to partition 0 of web-events unless they say more.

    Args:
        pipeline: whose broker it is.
        records: the arguments of produce().
        topic: the topic to send to.
        settings: of the producer, with _ for the dots in their names.
    """
    producer = new_producer(pipeline, **settings)
    errors: list[KafkaError] = []
    for record in records:
        producer.produce(
            **{"topic": topic or pipeline.web, "partition": 0, **record},
            on_delivery=lambda error, _: errors.append(error) if error else None,
        )
    assert producer.flush(SECONDS) == 0
    assert not errors, errors[0]


def new_producer(pipeline: Pipeline, **settings: object) -> Producer:
    """Return a producer that sends records of any size, and all that wait as one batch."""
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return Producer(
        {
            "bootstrap.servers": pipeline.kafka.servers,
            "message.max.bytes": LIMIT_BYTES,
            "linger.ms": 100,
            **named,
        }
    )


def read(pipeline: Pipeline, topic: str) -> list[Seen]:
    """Wait until no transaction is open in a topic, and return all records that are committed, in order."""
    pipeline.wait_until_stable(topic)
    consumer = Consumer(
        {
            "bootstrap.servers": pipeline.kafka.servers,
            "group.id": "nobody's",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    partitions = consumer.list_topics(topic, SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    seen: list[Seen] = []
    ended: set[int | None] = set()

    def at_the_end() -> bool:
        for message in consumer.consume(10_000, 0.2):
            if (error := message.error()) is None:
                seen.append(_seen(message))
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
        return len(ended) == len(partitions)

    wait_until(at_the_end, f"{topic} is read")
    consumer.close()
    return sorted(seen, key=lambda record: (record.partition, record.offset))


def judge(pipeline: Pipeline, web: Sequence[Seen] | None = None) -> None:
    """Check that each record of the sources came out once, in order, byte for byte.

    Args:
        pipeline: whose topics they are.
        web: what is in web-events, where librdkafka can't read that.
    """
    topics = {pipeline.web: "web", pipeline.purchase: "purchase"}
    sources = {"web": web or read(pipeline, pipeline.web), "purchase": read(pipeline, pipeline.purchase)}
    account.assert_same(
        account.expected(sources),
        account.came(read(pipeline, pipeline.analytics), read(pipeline, pipeline.dlq), topics),
    )


def _seen(message: Message) -> Seen:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = tuple(message.headers() or ())
    return Seen(topic, partition, offset, message.key(), message.value(), headers, message.timestamp()[1])
