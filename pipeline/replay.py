"""Sends dead letters back to where they came from: each once, whoever dies when.

A letter and the note that it was sent back are one transaction, and there is one transactional id for all
replays: who starts a replay ends the one before, aborts what that one left open, and reads all of its notes.
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec
from kafka.admin import ConfigResource
from kafka.errors import KafkaError

from pipeline.connection import DLQ_REPLAYS, PREFIX, admin_client, create_topics
from pipeline.dead_letters import replay_headers
from pipeline.letters import NOTES, DeadLetterQueue, Letter, identity
from pipeline.process import EXIT_FAILED, PipelineError, Stop
from pipeline.redelivery import Outgoing
from pipeline.status import say
from pipeline.transactions import HANG_SECONDS, TransactionalProducer, is_fenced, told
from pipeline.watchdog import Watchdog

TRANSACTIONAL_ID = PREFIX + "dlq-replay"
GO_ON = "What was told as sent back is noted: start the replay again, and it goes on with the others."
KEEP_NOTES = {"cleanup.policy": "compact"}  # a note is never too old


class _Note(NamedTuple):
    """What TransactionalProducer.send() takes from a record."""

    key: bytes
    timestamp: int


class Replay:
    """The one replay that may write."""

    def __init__(self, servers: str, stop: Stop) -> None:
        """Make the topic of the notes if it is missing, and end a replay that runs.

        Args:
            servers: bootstrap servers.
            stop: ends the reading of the queue.

        Raises:
            PipelineError, KafkaError: the broker is away, or refuses.
        """
        _ensure_notes(servers)
        self._watchdog = Watchdog(HANG_SECONDS, _give_up)
        self._producer = TransactionalProducer(servers, TRANSACTIONAL_ID)
        # Not before: only now can nobody else write notes any more.
        self.queue = DeadLetterQueue(servers, stop)

    def send_back(self, batch: Sequence[Outgoing]) -> list[str]:
        """Send letters back, all of them or none.

        Args:
            batch: the letters; those of a partition in their order.

        Returns:
            The place of each in its source.

        Raises:
            PipelineError: not sent back, or that is not known; the notes will tell.
        """
        now = int(time.time() * 1000)
        try:
            with self._watchdog.watch("The transaction"):
                self._producer.begin()
                for letter, dead, value in batch:
                    headers = replay_headers(dead)
                    self._producer.send(dead.topic, dead.partition, letter.record, value, headers)
                    note = _Note(identity(letter.record, dead), now)
                    text = _note_text(letter, value)
                    self._producer.send(NOTES.topic, NOTES.partition, note, text, ())
                sent = self._producer.commit()
                self._confirm_noted(batch, sent[-1].offset)
        except KafkaError as error:
            held_up = "Another replay was started, or this one was held up for too long."
            raise PipelineError(f"{held_up if is_fenced(error) else told(error)} {GO_ON}") from error
        return [f"{at.topic}[{at.partition}]@{at.offset}" for at in sent[::2]]

    def _confirm_noted(self, batch: Sequence[Outgoing], last_note: int) -> None:
        """Ask the broker: the client's commit can return normally although the broker aborted."""
        self.queue.read_notes(last_note + 1)
        if any(identity(letter.record, dead) not in self.queue.sent_back for letter, dead, _ in batch):
            raise KafkaError("the transaction was aborted")


def _note_text(letter: Letter, value: bytes | None) -> bytes:
    """What a person who looks into the notes reads; the key is what counts."""
    return msgspec.json.encode({"dead_letter": letter.lies_at, "edited": value != letter.record.value})


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
