"""Sends dead letters back to where they came from: each once, whatever dies when.

A letter and the note that it was sent back are one transaction, and there is one transactional id for all
replays: who starts a replay ends the one before, aborts what that one left open, and reads all of its notes.
"""

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

import msgspec
from kafka.admin import ConfigResource
from kafka.errors import KafkaError

from pipeline.connection import DLQ_REPLAYS, PREFIX, admin_client, any_open, create_topics
from pipeline.dead_letter_queue import NOTES, DeadLetterQueue
from pipeline.dead_letters import replay_headers
from pipeline.letters import identity, place_of
from pipeline.process import EXIT_FAILED, PipelineError, Stop, Stopped
from pipeline.redelivery import Outgoing
from pipeline.status import say
from pipeline.transactions import HANG_SECONDS, RefusedError, TransactionalProducer, is_fenced, told
from pipeline.watchdog import Watchdog

TRANSACTIONAL_ID = PREFIX + "dlq-replay"
GO_ON = "What was told as sent is noted: start the replay again, and it goes on with the others."
KEEP_NOTES = {"cleanup.policy": "compact"}  # a note is never too old


class Outcome(NamedTuple):
    """What became of a letter: where it is now, or why the source does not take it."""

    outgoing: Outgoing
    place: str
    refusal: str = ""


class Replay:
    """The one replay that may send.

    Attributes:
        queue: to read the letters from; its notes tell which were sent back before.
    """

    def __init__(self, servers: str, stop: Stop) -> None:
        """Make the topic of the notes if it is missing, and end a replay that runs.

        Args:
            servers: bootstrap servers.
            stop: ends the reading, and the sending between two transactions.

        Raises:
            PipelineError, KafkaError: the broker is away, or refuses.
        """
        _ensure_notes(servers)
        self.queue = DeadLetterQueue(servers, stop)
        self._servers = servers
        self._stop = stop
        self._watchdog = Watchdog(HANG_SECONDS, _give_up)
        self._producer = self._begin()

    def send_back(self, batch: Sequence[Outgoing]) -> Iterator[Outcome]:
        """Send letters back, all of them or none; only if the source refuses some, one by one.

        Args:
            batch: the letters; those of a partition in their order.

        Raises:
            PipelineError: not sent back, or that is not known; the notes will tell.
            Stopped: a stop was requested.
        """
        if self._stop.requested:
            raise Stopped
        try:
            yield from self._transaction(batch)
        except RefusedError as error:
            self._producer.close()  # not abort(): after a refusal, no transaction of this client succeeds
            self._producer = self._begin()
            if len(batch) == 1:
                yield Outcome(batch[0], "", str(error))
            else:
                for outgoing in batch:
                    yield from self.send_back([outgoing])

    def _begin(self) -> TransactionalProducer:
        producer = TransactionalProducer(self._servers, TRANSACTIONAL_ID)
        # Not before: only now can nobody else write notes any more.
        self.queue.read_notes()
        return producer

    def _transaction(self, batch: Sequence[Outgoing]) -> list[Outcome]:
        try:
            with self._watchdog.watch("The transaction"):
                return self._send_with_notes(batch)
        except KafkaError as error:
            reason = f"{self._told(error)} {GO_ON}"
            if self._stop.requested:
                say(reason)
                raise Stopped from error
            raise PipelineError(reason) from error

    def _told(self, error: KafkaError) -> str:
        if is_fenced(error):
            return "Another replay was started and took over; let it finish (or this one hung for too long)."
        if not any_open(self._servers):
            return f"Kafka at {self._servers} is away."
        return told(error)

    def _send_with_notes(self, batch: Sequence[Outgoing]) -> list[Outcome]:
        # Another replay may have been here, between two producers of this one.
        events = {identity(outgoing.letter.record, outgoing.dead): outgoing for outgoing in batch}
        left = {event: outgoing for event, outgoing in events.items() if event not in self.queue.sent_back}
        if not left:
            return []
        self._producer.begin()
        for letter, dead, value in left.values():
            record, headers = letter.record, replay_headers(dead)
            self._producer.send(dead.topic, dead.partition, record.key, value, headers, record.timestamp)
        now = int(time.time() * 1000)
        for event, (letter, _, value) in left.items():
            note = {"dead_letter": letter.lies_at, "edited": value != letter.record.value}  # for people
            self._producer.send(NOTES.topic, NOTES.partition, event, msgspec.json.encode(note), (), now)
        sent = self._producer.commit()
        # Ask the broker: commit() can return although the broker aborted.
        self.queue.read_notes(sent[-1].offset + 1)
        if not left.keys() <= self.queue.sent_back.keys():
            raise KafkaError("the broker aborted the transaction")
        return [
            Outcome(outgoing, place_of(at))
            for outgoing, at in zip(left.values(), sent, strict=False)  # behind the letters come the notes
        ]


class DryRun:
    """Sends nothing, and does not end a replay that runs.

    Attributes:
        queue: to read the letters from.
    """

    def __init__(self, servers: str, stop: Stop) -> None:
        """Connect.

        Args:
            servers: bootstrap servers.
            stop: ends the reading.

        Raises:
            KafkaError: the broker is away, or refuses.
        """
        self.queue = DeadLetterQueue(servers, stop)

    def send_back(self, batch: Sequence[Outgoing]) -> Iterator[Outcome]:
        """Tell where letters would go."""
        return (Outcome(outgoing, f"{outgoing.dead.topic}[{outgoing.dead.partition}]") for outgoing in batch)


def _ensure_notes(servers: str) -> None:
    with admin_client(servers) as admin:
        if create_topics(admin, [DLQ_REPLAYS], partitions=1, settings=KEEP_NOTES):
            return
        topic = ConfigResource("TOPIC", DLQ_REPLAYS)
        settings = admin.describe_configs([topic], config_filter="all")["topic"][DLQ_REPLAYS]
        if any(settings[name]["value"] != value for name, value in KEEP_NOTES.items()):
            admin.alter_configs([ConfigResource("TOPIC", DLQ_REPLAYS, KEEP_NOTES)])


def _give_up(hang: str) -> NoReturn:
    say(f"dlq.py: {hang}. {GO_ON}")
    os._exit(EXIT_FAILED)
