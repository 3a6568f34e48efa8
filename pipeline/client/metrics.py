"""What a loop over events reports of itself: metrics for Prometheus, and whether it makes progress.

Metrics has the calls for such a loop, and does nothing; serve_metrics() returns one that counts, for the
option --metrics-port. Each of its calls takes a few microseconds, for a batch of events. What takes longer is
done by a thread of its own, and goes on while the loop stands still.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import MemberState

from pipeline.cli.cluster import Cluster
from pipeline.cli.pages import Page, serve
from pipeline.cli.process import PipelineError
from pipeline.cli.status import without_secrets
from pipeline.client.errors import describe
from pipeline.client.lag import GroupStanding, Standing
from pipeline.client.liveness import Liveness
from pipeline.client.watchdog import HANG_SECONDS, restart_process, restarts
from pipeline.schema import REASON_CLASSES, reason_class
from pipeline.text import printable

ASK_EVERY_SECONDS = 5.0
POSITION_MS = 100
# The fixed cost of a transaction is 10 to 20 ms, its limit 10 s.
BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The calls of a loop that reads events in batches. This one counts nothing."""

    def polled(
        self, consumer: KafkaConsumer, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> None:
        """A poll() returned; what it brought is a batch, and processed now.

        Args:
            consumer: knows its partitions and positions.
            polled: the events, none or some.
        """

    def dead(self, error: Exception) -> None:
        """One event of the batch becomes a dead letter.

        Args:
            error: the reason.
        """

    def skipped(self) -> None:
        """One event of the batch can't be processed, and is left out."""

    def committed(self) -> None:
        """All events of the batch are processed, and their offsets committed."""

    def failed(self, reason: str) -> None:
        """The loop starts over; the batch, if there is one, is read again.

        Args:
            reason: what failed; another process could do no more about it.
        """

    def restart(self, hang: str) -> None:
        """Replace this process by a new one, as restart_process() does.

        Args:
            hang: what hangs, for the user.
        """
        restart_process(hang)


def serve_metrics(
    port: int | None,
    cluster: Cluster,
    group: str,
    topics: Collection[str],
    hang_seconds: float = HANG_SECONDS,
) -> Metrics:
    """Serve /metrics and /healthz from now on, if a port is named.

    Args:
        port: of --metrics-port.
        cluster: where Kafka is, and how to connect.
        group: the consumer group.
        topics: what it reads.
        hang_seconds: after which the watchdog restarts the process.

    Returns:
        What the loop has to call.

    Raises:
        PipelineError: the port is in use, or a package is not installed.
    """
    return Metrics() if port is None else _Served(port, cluster, group, topics, hang_seconds)


class _Served(Metrics):
    def __init__(
        self, port: int, cluster: Cluster, group: str, topics: Collection[str], hang_seconds: float
    ) -> None:
        try:
            import prometheus_client as prometheus  # of requirements/metrics.txt
        except ModuleNotFoundError as missing:
            raise PipelineError(
                "--metrics-port: not installed: prometheus_client. pip install -r requirements/metrics.txt"
            ) from missing

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._generate = prometheus.generate_latest
        self._content_type = prometheus.CONTENT_TYPE_LATEST
        self._events_read = prometheus.Counter(
            "pipeline_events_read", "Events that were read, also those that were read again after a failure"
        )
        events = prometheus.Counter(
            "pipeline_events",
            "Events that are processed and committed: clean, dead letters, or skipped",
            ["result"],
        )
        self._events = {result: events.labels(result) for result in ("clean", "dead", "skipped")}
        dead = prometheus.Counter("pipeline_dead_letters", "Dead letters, by the class of reason", ["reason"])
        self._dead = {reason: dead.labels(reason) for reason in REASON_CLASSES}
        transactions = prometheus.Counter(
            "pipeline_transactions", "Batches that were committed, or failed and were read again", ["result"]
        )
        self._transactions = {result: transactions.labels(result) for result in ("committed", "failed")}
        self._seconds = prometheus.Histogram(
            "pipeline_transaction_seconds", "Time from poll() to the commit of a batch", buckets=BUCKETS
        )
        self._failures = prometheus.Counter(
            "pipeline_failures", "Errors of Kafka, or of a sink's service, after which the loop started over"
        )
        prometheus.Counter(
            "pipeline_watchdog_restarts", "How often the watchdog restarted this process after a hang"
        ).inc(restarts())
        self._lag = prometheus.Gauge(
            "pipeline_lag_events",
            "Offsets from the group's committed one to the end, by partition; each process reports them all",
            ["group", "topic", "partition"],
        )
        prometheus.Gauge(
            "pipeline_seconds_since_progress", "Seconds since events were committed, or none were there"
        ).set_function(lambda: self._liveness.seconds_since_progress)
        self._assigned = prometheus.Gauge(
            "pipeline_assigned_partitions", "Partitions that this process reads"
        )
        self._reachable = prometheus.Gauge(
            "pipeline_kafka_reachable", "Whether Kafka answered the last time it was asked for the lag"
        )

        self._batch: dict[TopicPartition, int] | None = None  # its end in each partition
        self._events_of_batch = 0
        self._results: Counter[str] = Counter()  # of the batch: those that are not clean
        self._reasons: Counter[str] = Counter()  # of its dead letters
        self._polled_at = 0.0
        self._partitions: Collection[TopicPartition] | None = None  # of this process, once it is in its group
        self._positions: dict[TopicPartition, int] = {}  # in those, where known: all before is processed
        self._liveness = Liveness(limit=2 * hang_seconds)  # so the watchdog has had two attempts
        self._group = group
        self._offsets = GroupStanding(cluster, group, topics)
        serve(port, {"/metrics": self._metrics_page, "/healthz": self._health_page})
        threading.Thread(target=self._ask_forever, name="metrics", daemon=True).start()

    def polled(
        self, consumer: KafkaConsumer, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> None:
        self._liveness.step()
        assigned = consumer.assignment()
        # One that still joins its group has no partition either, and is not done for that reason
        self._partitions = assigned if consumer.group_metadata().state is MemberState.STABLE else None
        known = {partition: at for partition, at in self._positions.items() if partition in assigned}
        self._assigned.set(len(assigned))
        if polled:
            self._batch = {partition: records[-1].offset + 1 for partition, records in polled.items()}
            self._events_of_batch = sum(map(len, polled.values()))
            self._events_read.inc(self._events_of_batch)
            self._polled_at = time.perf_counter()
        else:
            known |= _positions(consumer, assigned)  # also behind Kafka's markers of transactions
        self._positions = known

    def dead(self, error: Exception) -> None:
        self._results["dead"] += 1
        self._reasons[reason_class(error)] += 1

    def skipped(self) -> None:
        self._results["skipped"] += 1

    def committed(self) -> None:
        if self._batch is None:
            return
        self._liveness.step()
        self._liveness.progress()
        self._seconds.observe(time.perf_counter() - self._polled_at)
        self._transactions["committed"].inc()
        self._events["clean"].inc(self._events_of_batch - self._results.total())
        for result, number in self._results.items():
            self._events[result].inc(number)
        for reason, number in self._reasons.items():
            self._dead[reason].inc(number)
        self._positions = self._positions | self._batch
        self._end_batch()

    def failed(self, reason: str) -> None:
        self._liveness.step()
        self._liveness.excuse(reason)
        self._failures.inc()
        if self._batch is not None:
            self._transactions["failed"].inc()
        self._end_batch()

    def restart(self, hang: str) -> None:
        self._liveness.carry_over()
        super().restart(hang)

    def _end_batch(self) -> None:
        self._batch = None
        self._results.clear()
        self._reasons.clear()

    def _ask_forever(self) -> None:
        while True:
            try:
                standings = self._offsets.ask()
            except Exception as error:  # whatever it is: nothing would notice the end of this thread
                self._reachable.set(0)
                self._liveness.excuse(f"Kafka does not say how far the group is ({describe(error)})")
            else:
                self._reachable.set(1)
                for partition, standing in standings.items():
                    self._lag.labels(self._group, *partition).set(standing.lag)
                if self._all_read(standings):
                    self._liveness.progress()
            time.sleep(ASK_EVERY_SECONDS)

    def _all_read(self, standings: Mapping[TopicPartition, Standing]) -> bool:
        """Return whether this process has processed all events of its partitions."""
        partitions, positions = self._partitions, self._positions
        return partitions is not None and all(
            standing.end <= positions.get(partition, standing.committed)
            for partition, standing in standings.items()
            if partition in partitions
        )

    def _metrics_page(self) -> Page:
        return Page(HTTPStatus.OK, self._generate(), self._content_type)

    def _health_page(self) -> Page:
        status = HTTPStatus.SERVICE_UNAVAILABLE if self._liveness.stuck() else HTTPStatus.OK
        text = printable(without_secrets(" ".join(self._liveness.summary().split())))
        return Page(status, f"{text}\n".encode())


def _positions(consumer: KafkaConsumer, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the positions of a consumer where it knows them."""
    positions = {}
    for partition in partitions:
        with suppress(KafkaError):  # it was just revoked
            position = consumer.position(partition, timeout_ms=POSITION_MS)
            if position is not None:
                positions[partition] = position
    return positions
