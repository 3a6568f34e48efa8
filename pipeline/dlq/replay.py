"""Replays dead letters to their source: each once, whatever fails when.

A letter and its entry in the ledger are one transaction, and all replays have the same transactional id: a
new replay fences the one before, aborts what that one left open, and reads the whole ledger.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import msgspec

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import EXIT_FAILED, PipelineError, Stop, Stopped
from pipeline.cli.status import log
from pipeline.client.admin import ensure_compacted_topic
from pipeline.client.errors import KafkaError, describe, is_fenced
from pipeline.client.health import any_open
from pipeline.client.reading import NoAnswerError
from pipeline.client.transactions import RefusedError, TransactionalProducer
from pipeline.client.watchdog import HANG_SECONDS, Watchdog
from pipeline.dead_letters import place_of, replay_headers
from pipeline.dlq.letters import fingerprint, identity
from pipeline.dlq.queue import LEDGER_PARTITION, DeadLetterQueue, Entry
from pipeline.dlq.selection import Outgoing
from pipeline.topics import DLQ_REPLAYS

START_AGAIN = (
    "What was reported as sent is in the ledger: start the replay again, and it continues with the rest."
)


class Outcome(NamedTuple):
    """The outcome for one letter: its new place, or the reason why the source does not take it."""

    outgoing: Outgoing
    place: str
    refusal: str = ""


class Replay:
    """The one replay that may send."""

    def __init__(
        self,
        cluster: Cluster,
        new_producer: Callable[[], TransactionalProducer],
        queue: DeadLetterQueue,
        stop: Stop,
    ) -> None:
        """Create the ledger if it is missing, and end a replay that runs.

        Args:
            cluster: where Kafka is, and how to connect.
            new_producer: makes a producer with the transactional id of all replays.
            queue: the queue and its ledger.
            stop: ends the sending between two transactions.

        Raises:
            PipelineError, KafkaError: the broker is unreachable, or refuses.
        """
        ensure_compacted_topic(cluster, DLQ_REPLAYS)  # an entry never expires
        self._cluster = cluster
        self._new_producer = new_producer
        self._queue = queue
        self._stop = stop
        self._watchdog = Watchdog(HANG_SECONDS, _give_up)
        self._producer = self._fence_others()

    def send(self, batch: Sequence[Outgoing]) -> Iterator[Outcome]:
        """Replay letters, all of them or none; only if the source refuses some, one by one.

        Args:
            batch: the letters; those of a partition in their order.

        Raises:
            PipelineError: they were not replayed, or that is not known; the ledger has the truth.
            Stopped: a stop was requested.
        """
        if self._stop.requested:
            raise Stopped
        try:
            yield from self._transaction(batch)
        except RefusedError as error:
            self._producer.close()  # not abort(): after a refusal, no transaction of this client succeeds
            self._producer = self._fence_others()
            if len(batch) == 1:
                yield Outcome(batch[0], "", str(error))
            else:
                for outgoing in batch:
                    yield from self.send([outgoing])

    def _fence_others(self) -> TransactionalProducer:
        producer = self._new_producer()
        # Only now: from here on no other replay can write entries.
        self._queue.read_ledger()
        return producer

    def _transaction(self, batch: Sequence[Outgoing]) -> list[Outcome]:
        try:
            with self._watchdog.watch("The transaction"):
                return self._send_with_entries(batch)
        except (KafkaError, NoAnswerError) as error:
            reason = f"{self._explain(error)} {START_AGAIN}"
            if self._stop.requested:
                log.warning(reason)
                raise Stopped from error
            raise PipelineError(reason) from error

    def _explain(self, error: KafkaError | NoAnswerError) -> str:
        if is_fenced(error):
            return "Another replay was started and took over; let it finish (or this one hung for too long)."
        if not any_open(self._cluster):
            return f"Kafka at {self._cluster} is unreachable."
        return describe(error)

    def _send_with_entries(self, batch: Sequence[Outgoing]) -> list[Outcome]:
        # Another replay may have sent some of them, between two producers of this one.
        events = {identity(outgoing.letter.record, outgoing.dead): outgoing for outgoing in batch}
        left = {event: outgoing for event, outgoing in events.items() if event not in self._queue.replayed}
        if not left:
            return []
        self._producer.begin()
        for letter, dead, value in left.values():
            record, headers = letter.record, replay_headers(dead)
            self._producer.send(dead.topic, dead.partition, record.key, value, headers, record.timestamp)
        now = int(time.time() * 1000)
        for event, (letter, dead, value) in left.items():
            sent_as = fingerprint(dead, letter.record.key, value, replay_headers(dead))
            entry = Entry(letter.stored_at, value != letter.record.value, sent_as)
            self._producer.send(DLQ_REPLAYS, LEDGER_PARTITION, event, msgspec.json.encode(entry), (), now)
        sent = self._producer.commit()
        # Ask the broker: commit() can return although the broker aborted.
        self._queue.read_ledger(sent[-1].offset + 1)
        if not left.keys() <= self._queue.replayed.keys():
            raise KafkaError("the broker aborted the transaction")
        return [
            Outcome(outgoing, place_of(metadata))
            for outgoing, metadata in zip(
                left.values(), sent, strict=False
            )  # behind the letters: the entries
        ]


class DryRun:
    """Sends nothing, and does not end a replay that runs."""

    def send(self, batch: Sequence[Outgoing]) -> Iterator[Outcome]:
        """Return where letters would be sent."""
        return (Outcome(outgoing, f"{outgoing.dead.topic}[{outgoing.dead.partition}]") for outgoing in batch)


def _give_up(hang: str) -> NoReturn:
    log.error(f"dlq.py: {hang}. {START_AGAIN}")
    os._exit(EXIT_FAILED)
