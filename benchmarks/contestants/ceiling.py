"""kafka-python's own ceiling: records are copied as bytes, in transactions. No processing and no defence.

Its clients and Python's garbage collector have the settings of the processor's: so the difference between the
two is the processor's own work.
"""

from kafka import KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.structs import OffsetAndMetadata

from benchmarks.contestants.work import SOURCES, contestant_parser, transactional_id
from pipeline.connection import ANALYTICS_EVENTS, client_settings, subscribe
from pipeline.exactly_once import MAX_BATCH_RECORDS, POLL_MS
from pipeline.process import collect_garbage_seldom
from pipeline.transactions import BATCH_BYTES, LINGER_MS, RETRY_MS


def main() -> None:
    """Copy until the process is ended."""
    options = contestant_parser(__doc__, "ceiling").parse_args()
    consumer = KafkaConsumer(
        **client_settings(options.bootstrap_servers),
        group_id=options.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        retry_backoff_ms=RETRY_MS,
        metrics_enabled=False,
    )
    subscribe(consumer, *SOURCES)
    producer = KafkaProducer(
        **client_settings(options.bootstrap_servers),
        transactional_id=transactional_id(options.group),
        batch_size=BATCH_BYTES,
        linger_ms=LINGER_MS,
        retry_backoff_ms=RETRY_MS,
        metrics_enabled=False,
    )
    producer.init_transactions()
    collect_garbage_seldom()
    while True:
        batch = consumer.poll(timeout_ms=POLL_MS, max_records=MAX_BATCH_RECORDS)
        if not batch:
            continue
        producer.begin_transaction()
        for records in batch.values():
            for record in records:
                producer.send(
                    ANALYTICS_EVENTS, record.value, record.key,
                    partition=record.partition, timestamp_ms=record.timestamp,
                )  # fmt: skip
        offsets = {
            partition: OffsetAndMetadata(records[-1].offset + 1) for partition, records in batch.items()
        }
        producer.flush()
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()


if __name__ == "__main__":
    main()
