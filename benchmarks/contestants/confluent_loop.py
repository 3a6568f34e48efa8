"""confluent-kafka (librdkafka), as in its examples/eos_transactions.py, for a group and in batches."""

import signal
import threading

from confluent_kafka import Consumer, KafkaException, Producer

from benchmarks.contestants.work import (
    SOURCES,
    Record,
    contestant_parser,
    plain_servers,
    process,
    transactional_id,
)

# consume() returns when it has so many records, or after so many seconds. Under load a transaction is a full
# batch; otherwise a record waits that long at most. Measured: 10,000 records are a tenth faster than 2,000,
# and twice as fast as 500; the seconds have no effect on throughput, and below 0.02 hardly any on latency.
BATCH_RECORDS = 10_000
BATCH_SECONDS = 0.02


def process_events(servers: str, group: str, stop: threading.Event) -> None:
    """Consume, process and produce, batch by batch.

    Args:
        servers: bootstrap servers.
        group: consumer group.
        stop: ends it.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,  # offsets are committed in the transaction
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "roundrobin",  # else one of two processes gets four partitions
        }
    )
    producer = Producer({"bootstrap.servers": servers, "transactional.id": transactional_id(group)})
    consumer.subscribe(SOURCES)
    producer.init_transactions()
    while not stop.is_set():
        messages = consumer.consume(BATCH_RECORDS, BATCH_SECONDS)
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            record = Record(message.topic(), message.partition(), message.offset(), message.headers() or [])
            topic, value, headers = process(record, message.value(), group)
            producer.produce(
                topic, value, message.key(), record.partition,
                timestamp=message.timestamp()[1], headers=headers,
            )  # fmt: skip
            producer.poll(0)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        producer.commit_transaction()
    consumer.close()


def main() -> None:
    """Run until Ctrl-C."""
    options = contestant_parser(__doc__, "confluent_loop").parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    process_events(plain_servers(options.cluster), options.group, stop)


if __name__ == "__main__":
    main()
