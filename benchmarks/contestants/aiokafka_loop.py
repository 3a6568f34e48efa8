"""aiokafka, as in its example "Transactional Consume-Process-Produce"."""

import asyncio
import logging
import signal
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.contestants.work import (
    SOURCES,
    Record,
    contestant_parser,
    plain_servers,
    process,
    transactional_id,
)

POLL_MS = 500
# Measured: 10,000 records in a transaction are a fifth faster than 2,000, or than all that were fetched.
MAX_BATCH_RECORDS = 10_000
BATCH_BYTES = 256 * 1024  # with the default of 16 KB, send() waits for the broker every hundred records


async def process_events(servers: str, group: str) -> None:
    """Consume, process and produce, batch by batch, until the task is cancelled.

    Args:
        servers: bootstrap servers.
        group: consumer group.
    """
    consumer = AIOKafkaConsumer(
        *SOURCES,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,  # offsets are committed in the transaction
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, transactional_id=transactional_id(group), max_batch_size=BATCH_BYTES
    )
    try:
        await consumer.start()
        await producer.start()
        while True:
            batch = await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_BATCH_RECORDS)
            if not batch:
                continue
            async with producer.transaction():
                for partition, messages in batch.items():
                    for message in messages:
                        record = Record(message.topic, partition.partition, message.offset, message.headers)
                        topic, value, headers = process(record, message.value, group)
                        await producer.send(
                            topic, value, message.key, partition.partition, message.timestamp, list(headers)
                        )
                offsets = {partition: messages[-1].offset + 1 for partition, messages in batch.items()}
                await producer.send_offsets_to_transaction(offsets, group)
    finally:
        await consumer.stop()
        await producer.stop()


async def until_stopped(servers: str, group: str) -> None:
    """Cancel the work at Ctrl-C and SIGTERM."""
    task = asyncio.ensure_future(process_events(servers, group))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run until Ctrl-C."""
    options = contestant_parser(__doc__, "aiokafka_loop").parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # each rebalance is a warning
    asyncio.run(until_stopped(plain_servers(options.cluster), options.group))


if __name__ == "__main__":
    main()
