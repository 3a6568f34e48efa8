"""Shows the dead letters in analytics-dlq with their reasons, and replays them to their source.

It deletes nothing from the queue; only Kafka's retention does. A replay sends each event once, however many
letters it has, whatever fails when. An event that was not fixed fails again, and becomes a new letter with a
higher number of attempts.
"""

import pipeline.start  # noqa: F401, first: now Ctrl-C ends this script at once

from argparse import Namespace
from itertools import islice

from kafka import KafkaConsumer, KafkaProducer

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import Progress, log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.reading import PartitionReader
from pipeline.client.settings import connection_settings
from pipeline.client.transactions import BytesOrNull, TransactionalProducer
from pipeline.dlq.letters import SOURCE_TOPICS
from pipeline.dlq.options import parse_options
from pipeline.dlq.queue import DeadLetterQueue
from pipeline.dlq.replay import DryRun, Replay
from pipeline.dlq.selection import Selection, batches
from pipeline.dlq.views import Statistics, as_json, as_line, as_page, as_replay
from pipeline.topics import ANALYTICS_DLQ, REPLAY_ID

EXAMPLES = """
    python3 dlq.py stats
    python3 dlq.py list --source web --since 10m
    python3 dlq.py show web-events:0:17
    python3 dlq.py replay --reason 'field `page`' --edit "jq -c '.page=\\"/unknown\\"'" --dry-run
"""


def open_queue(cluster: Cluster, stop: Stop) -> DeadLetterQueue:
    """Make the consumer that reads the queue; it belongs to no group and commits nothing."""
    consumer = KafkaConsumer(
        **connection_settings(cluster),
        enable_auto_commit=False,
        isolation_level="read_committed",  # a letter of a transaction that was aborted does not exist
        auto_offset_reset="earliest",
    )
    return DeadLetterQueue(PartitionReader(consumer), stop)


def new_producer(cluster: Cluster) -> TransactionalProducer:
    """Make the producer that writes letters and the ledger of replays, in transactions."""
    producer = KafkaProducer(
        **connection_settings(cluster),
        transactional_id=REPLAY_ID,
        transaction_timeout_ms=10_000,  # what a killed replay left open holds readers up that long
        delivery_timeout_ms=8_000,  # a letter that arrives later would come too late for its transaction
        request_timeout_ms=5_000,
        max_block_ms=10_000,
        value_serializer=BytesOrNull(),  # a letter may have neither key nor value
        max_request_size=100 * 1024 * 1024,  # the topics decide which letter is too large
        batch_size=256 * 1024,
        compression_type=cluster.compression,  # of --config; by default none (docs/scaling.md)
        linger_ms=1_000,  # a batch that is not full waits for the commit, which flushes: few large requests
        retry_backoff_ms=10,  # for 1 to 5 ms after a commit, the broker answers the next one "try again"
        metrics_enabled=False,  # nobody reads them
    )
    return TransactionalProducer(producer)


def list_letters(options: Namespace, stop: Stop) -> None:
    """Print a line for each letter, oldest first."""
    letters = open_queue(options.cluster, stop).letters(options.wanted)
    printed = 0
    for letter in islice(letters, options.limit):
        print(as_json(letter) if options.json else as_line(letter))
        printed += 1
    if not printed and options.limit != 0:
        log.info(f"{ANALYTICS_DLQ} has no such letter.")


def count_letters(options: Namespace, stop: Stop) -> None:
    """Print how many letters there are per source and reason."""
    statistics = Statistics()
    for letter in open_queue(options.cluster, stop).letters(options.wanted):
        statistics.add(letter)
    print(statistics.as_json() if options.json else statistics.as_text())


def show_letter(options: Namespace, stop: Stop) -> None:
    """Print everything about the letter of one source record (several, if it failed in several groups)."""
    letters = open_queue(options.cluster, stop).letters(options.wanted)
    found = [letter for letter in letters if options.place in (letter.place, letter.stored_at)]
    if not found:
        raise PipelineError(f"{ANALYTICS_DLQ} has no letter of {options.place}. See `python3 dlq.py list`.")
    print("\n\n".join(map(as_page, found)))


def replay(options: Namespace, stop: Stop) -> None:
    """Select letters, edit them, send a batch of them in a transaction, print, until all are done."""
    cluster = options.cluster
    ensure_topics(cluster, *SOURCE_TOPICS.values())
    queue = open_queue(cluster, stop)
    # A new Replay ends one that still runs, and reads the ledger; so it comes before the selection.
    sender = DryRun() if options.dry_run else Replay(cluster, lambda: new_producer(cluster), queue, stop)
    selection = Selection(queue.source_partitions(), options.max_attempts, stop)
    outgoing_letters = selection.select(queue.letters(options.wanted))
    if options.edit:
        outgoing_letters = selection.edit(outgoing_letters, options.edit)
    log.info(f"Replaying {ANALYTICS_DLQ} at {cluster}; Ctrl-C to stop.")

    progress = Progress("letters")
    rate = 0 if options.dry_run else options.rate
    try:
        for batch in batches(islice(outgoing_letters, options.limit), rate, stop):
            # All of a batch or nothing of it; so a line printed here is a fact, not an attempt.
            for outgoing, place, refusal in sender.send(batch):
                if refusal:
                    selection.refused(outgoing, refusal)
                    continue
                progress.add()
                print(as_replay("would send" if options.dry_run else "sent", outgoing, place), flush=True)
    finally:
        progress.end()
        result = f"{'Would replay' if options.dry_run else 'Replayed'}: {progress.count:,}"
        for line in selection.describe(f"{result}, stopped" if stop.requested else result):
            log.info(line)
    if selection.failed:
        raise PipelineError(f"{selection.failed:,} letters could not be replayed; they stay as they are.")


def main() -> None:
    """Run the command, until it is done or Ctrl-C."""
    options = parse_options(
        __doc__, EXAMPLES, listing=list_letters, stats=count_letters, show=show_letter, replay=replay
    )
    stop = Stop()
    ensure_topics(options.cluster, ANALYTICS_DLQ, reads=[ANALYTICS_DLQ])
    options.run(options, stop)


if __name__ == "__main__":
    run_kafka_script(main)
