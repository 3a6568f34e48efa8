"""Reads web-events and purchase-events and brings both into one schema.

Valid events go to analytics-events. Broken ones go to analytics-dlq, byte for byte, with the reason in their
headers. Every event comes out exactly once for a read_committed reader: a batch of outputs and the consumer's
new offsets are committed in one Kafka transaction. If this process dies before the commit, Kafka aborts the
transaction: its outputs are never seen, and the next process reads the same events again, from the old
offsets. If it dies during the commit, Kafka completes or aborts it, and the next process waits for that. If
it was only slow, Kafka rejects the commit: the partitions belong to another process, or the transaction has
timed out. After any other error both clients are recreated, and reading continues from the committed offsets.
Several of these may run at once, as a consumer group.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

import socket
import uuid

from kafka import KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import option_parser
from pipeline.cli.printing import Printer
from pipeline.cli.process import Stop, collect_garbage_seldom
from pipeline.cli.status import Progress, log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.exactly_once import ExactlyOnce
from pipeline.client.health import report_outages
from pipeline.client.metrics import serve_metrics
from pipeline.client.settings import connection_settings
from pipeline.client.transactions import BytesOrNull
from pipeline.client.watchdog import is_restart
from pipeline.dead_letters import dead_letter_headers, place_of
from pipeline.schema import BrokenEventError, check_headers, encode, normalize_purchase, normalize_web
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, PROCESSOR_GROUP, PURCHASE_EVENTS, WEB_EVENTS

NORMALIZERS = {WEB_EVENTS: normalize_web, PURCHASE_EVENTS: normalize_purchase}
# The workshop fixes this line to the letter, whatever TOPIC_PREFIX the topics have.
DLQ_LINE = "[DLQ] 처리 실패 이벤트를 analytics-dlq 토픽으로 전송합니다."
EXAMPLES = """
    python3 stream_processor.py
    python3 stream_processor.py --group second-try    # processes everything again: it all comes out twice
"""


def new_consumer(cluster: Cluster, group: str) -> KafkaConsumer:
    """Make the consumer that reads both topics."""
    return KafkaConsumer(
        **connection_settings(cluster),
        group_id=group,
        auto_offset_reset="earliest",  # a new group begins with the oldest event
        enable_auto_commit=False,  # offsets are committed in the transaction, with what became of the events
        isolation_level="read_committed",  # and wait for offsets that another processor is just committing
        session_timeout_ms=6_000,  # a killed processor's partitions go to the others after that long
        heartbeat_interval_ms=1_500,
        max_poll_interval_ms=15_000,  # as do those of one that processes a batch longer; < HANG_SECONDS
        # Three partitions for each of two processes; by default they share two topics as four and two.
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        retry_backoff_ms=10,  # commit() reads the offset back; for 1 to 5 ms the broker says "try again"
        metrics_enabled=False,  # a tenth of the client's work at 1,000 events/s, and nobody reads them
    )


def new_producer(cluster: Cluster, transactional_id: str) -> KafkaProducer:
    """Make the producer that writes both outputs and the consumer's offsets, in transactions."""
    return KafkaProducer(
        **connection_settings(cluster),
        transactional_id=transactional_id,  # implies an idempotent producer with acks="all"
        transaction_timeout_ms=10_000,  # then Kafka aborts what a killed processor left open; readers wait
        delivery_timeout_ms=8_000,  # a record not delivered by then fails, in time for its transaction
        request_timeout_ms=5_000,  # time for a second attempt before the record fails
        max_block_ms=10_000,  # no call waits longer than its transaction lives
        value_serializer=BytesOrNull(),  # a dead letter may have neither key nor value
        max_request_size=100 * 1024 * 1024,  # the topics decide what is too large (max.message.bytes)
        batch_size=256 * 1024,
        compression_type=cluster.compression,  # of --config; by default none (docs/scaling.md)
        linger_ms=1_000,  # a batch that is not full waits for the commit, which flushes: few large requests
        retry_backoff_ms=10,
        metrics_enabled=False,
    )


def main() -> None:
    """Poll both topics, normalize, route, commit, print, until Ctrl-C."""
    options = option_parser(__doc__, EXAMPLES, group=PROCESSOR_GROUP, metrics=True).parse_args()
    cluster, stop = options.cluster, Stop()
    metrics = serve_metrics(options.metrics_port, cluster, options.group, NORMALIZERS)
    if not is_restart():  # After a hang, a watchdog restarts this process: then poll() waits for the broker
        ensure_topics(cluster, *NORMALIZERS, ANALYTICS_EVENTS, ANALYTICS_DLQ, reads=NORMALIZERS)
    report_outages(cluster)
    log.info(f"Processing {' and '.join(NORMALIZERS)} at {cluster}; Ctrl-C to stop.")

    # An id of this process alone. When this process recreates its producer after an error, Kafka aborts what
    # the producer before left open, and rejects what that one may still send.
    transactional_id = f"{options.group}-{socket.gethostname()}-{uuid.uuid4()}"
    exactly_once = ExactlyOnce(
        cluster,
        lambda: new_consumer(cluster, options.group),
        lambda: new_producer(cluster, transactional_id),
        sources=NORMALIZERS,
        outputs=(ANALYTICS_EVENTS, ANALYTICS_DLQ),
        stop=stop,
        metrics=metrics,
    )
    collect_garbage_seldom()
    clean, dead = 0, 0
    progress = Progress("events processed")
    with Printer(stop) as printer, exactly_once:
        while not stop.requested:
            # 1. Read a batch of events. If any came, a transaction begins.
            records = exactly_once.poll()
            dlq_lines = []
            for record in records:
                # 2. Bring the event into the common schema. The message of a BrokenEventError, which
                #    pipeline/schema.py raises, is the reason why that fails.
                try:
                    check_headers(record.headers)
                    value = encode(NORMALIZERS[record.topic](record.value))
                except BrokenEventError as error:
                    # 3. Broken: to the dead letter queue, its value unchanged, with the reason in headers.
                    headers = dead_letter_headers(record, error, options.group)
                    exactly_once.send(ANALYTICS_DLQ, record, record.value, headers)
                    metrics.dead(error)
                    dlq_lines.append(f"{DLQ_LINE}\n    {place_of(record)}: {error}")
                else:
                    # 4. Clean: to the one topic that everybody downstream reads.
                    exactly_once.send(ANALYTICS_EVENTS, record, value, record.headers)
            # 5. Send the outputs, and commit them together with the group's new offsets, or nothing. If that
            #    fails, poll() continues from the committed offsets, with new clients.
            if exactly_once.commit():
                printer.print(dlq_lines)  # only now: a line on the screen is a fact, not an attempt
                progress.add(len(records))
                dead += len(dlq_lines)
                clean += len(records) - len(dlq_lines)
    progress.end()
    log.info(f"Stopped after {clean + dead} events: {clean} clean, {dead} dead letters.")


if __name__ == "__main__":
    run_kafka_script(main)
