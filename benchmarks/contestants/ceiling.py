"""kafka-python's own ceiling: copies records as bytes, in transactions, without processing or defences.

Its clients and Python's garbage collector have the processor's settings. So the difference between the two is
the processor's own work.
"""

from kafka.structs import OffsetAndMetadata

from benchmarks.contestants.work import SOURCES, contestant_parser, transactional_id
from pipeline.cli.process import collect_garbage_seldom
from pipeline.client.consuming import subscribe
from pipeline.client.exactly_once import MAX_BATCH_RECORDS, POLL_MS
from pipeline.topics import ANALYTICS_EVENTS
from stream_processor import new_consumer, new_producer


def main() -> None:
    """Copy until the process is ended."""
    options = contestant_parser(__doc__, "ceiling").parse_args()
    consumer = new_consumer(options.cluster, options.group)
    subscribe(consumer, *SOURCES)
    producer = new_producer(options.cluster, transactional_id(options.group))
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
