"""What exactly-once costs: the stream processor as it is, and the same loop without transactions.

Both read the same events, in turns, so that a noisy machine is noisy for both.

    python -m benchmarks.transactions                 needs a Kafka: python -m pipeline.local start
    python -m benchmarks.transactions --events 50000 --rounds 3
"""

import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Sequence

from kafka import KafkaConsumer, KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import CONFIG_VARIABLE, SERVERS_VARIABLE, option_parser, whole_number
from pipeline.cli.process import PipelineError, Stop
from pipeline.client.consuming import subscribe
from pipeline.client.errors import run_kafka_script
from pipeline.client.exactly_once import MAX_BATCH_RECORDS, POLL_MS, ExactlyOnce
from pipeline.client.settings import connection_settings
from pipeline.demo.scripts import PRODUCERS
from pipeline.local import PROJECT

WITH, WITHOUT = "with", "without"
EXAMPLES = """
    python -m benchmarks.transactions
    python -m benchmarks.transactions --events 50000 --rounds 3
"""


class NoTransactions:
    """The three steps of ExactlyOnce as the workshop does them: autocommit, send and forget."""

    def __init__(
        self,
        cluster: Cluster,
        new_consumer: Callable[[], KafkaConsumer],
        new_producer: Callable[[], KafkaProducer],
        sources: Collection[str],
        outputs: Collection[str],
        stop: Stop,
    ) -> None:
        """Take the arguments of ExactlyOnce, but connect with clients of our own."""
        self._consumer = KafkaConsumer(
            **connection_settings(cluster),
            group_id=f"benchmark-{uuid.uuid4()}",
            auto_offset_reset="earliest",
            metrics_enabled=False,
        )
        subscribe(self._consumer, *sources)
        self._producer = KafkaProducer(
            **connection_settings(cluster), batch_size=256 * 1024, linger_ms=1_000, metrics_enabled=False
        )

    def __enter__(self) -> "NoTransactions":
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.flush()
        self._consumer.close()

    def poll(self) -> list[ConsumerRecord]:
        """Return the records that are there."""
        polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=MAX_BATCH_RECORDS)
        return [record for records in polled.values() for record in records]

    def send(
        self, topic: str, record: ConsumerRecord, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        """Send without waiting for an answer."""
        self._producer.send(
            topic, key=record.key, value=value, headers=list(headers), partition=record.partition
        )

    def commit(self) -> bool:
        """Leave it to autocommit."""
        return True


def measure(how: str, events: int) -> None:
    """Process so many events and print how many seconds that took from the first to the last.

    Args:
        how: WITH or WITHOUT.
        events: the number of events in the topics.
    """
    import stream_processor

    loop = ExactlyOnce if how == WITH else NoTransactions

    class Timed(loop):  # type: ignore[valid-type,misc]
        """Measures the time from the first record to the commit of the last one."""

        left = events
        began = 0.0

        def poll(self) -> list[ConsumerRecord]:
            records: list[ConsumerRecord] = super().poll()
            self.began = self.began or (time.monotonic() if records else 0.0)
            self.left -= len(records)
            return records

        def commit(self) -> bool:
            committed: bool = super().commit()
            if self.left == 0:
                super().__exit__()
                print(time.monotonic() - self.began, file=sys.stderr, flush=True)
                os._exit(0)
            return committed

    vars(stream_processor)["ExactlyOnce"] = Timed
    sys.argv = ["stream_processor.py", "--group", f"benchmark-{uuid.uuid4()}"]
    stream_processor.main()


def main() -> None:
    """Fill the topics once, then measure in turns."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument("--events", type=whole_number(1000), default=100_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="default: %(default)s")
    parser.add_argument("--measure", choices=(WITH, WITHOUT), help="measure once; the topics are filled")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.events)
        return

    environment = os.environ | {
        SERVERS_VARIABLE: options.cluster.servers,
        CONFIG_VARIABLE: options.cluster.config_file or "",
        "TOPIC_PREFIX": f"benchmark-{uuid.uuid4().hex[:8]}-",
    }

    def call(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=PROJECT, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise PipelineError(done.stderr)
        return done.stderr.splitlines()[-1]

    for producer in PRODUCERS:
        call(f"{producer}.py", "--count", str(options.events // 2), "--rate", "0")
    rates: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for number in range(options.rounds):
        for how in rates:
            seconds = call("-m", "benchmarks.transactions", "--measure", how, "--events", str(options.events))
            rates[how].append(options.events / float(seconds))
        print(
            f"round {number + 1}: {rates[WITH][-1]:,.0f} events/s with transactions, "
            f"{rates[WITHOUT][-1]:,.0f} without", flush=True,
        )  # fmt: skip
    medians = {how: statistics.median(rates[how]) for how in rates}
    print(
        f"median:  {medians[WITH]:,.0f} events/s with transactions, {medians[WITHOUT]:,.0f} without, "
        f"ratio {medians[WITH] / medians[WITHOUT]:.2f}"
    )


if __name__ == "__main__":
    run_kafka_script(main, "benchmarks.transactions")
