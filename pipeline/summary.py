"""The account of one run: is everything that was sent either a clean event or a dead letter, each once?"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.connection import ANALYTICS_DLQ, ANALYTICS_EVENTS, client_settings
from pipeline.dead_letters import read_dead_letter
from pipeline.events import decode
from pipeline.process import Stop

POLL_MS = 200
QUIET_SECONDS = 60.0
GROUP_SECONDS = 20.0


class SentEvent(NamedTuple):
    """An event that a producer told as sent; `event_id` is None for one that was broken on purpose."""

    topic: str
    partition: int
    offset: int
    event_id: str | None


class Outputs:
    """Reads what comes to analytics-events and analytics-dlq from the moment it is made."""

    def __init__(self, servers: str) -> None:
        """Remember where both topics end now.

        Args:
            servers: bootstrap servers.
        """
        self._servers = servers
        self._reader = KafkaConsumer(
            **client_settings(servers), enable_auto_commit=False, isolation_level="read_committed"
        )
        self._partitions = [
            TopicPartition(topic, partition)
            for topic in (ANALYTICS_EVENTS, ANALYTICS_DLQ)
            for partition in self._reader.partitions_for_topic(topic)
        ]
        self._reader.assign(self._partitions)
        self._reader.seek_to_end()
        for partition in self._partitions:
            self._reader.position(partition)  # seek_to_end() is lazy, this is not
        self._clean: Counter[str] = Counter()
        self._dead: Counter[tuple[str, int, int]] = Counter()
        self._reasons: dict[tuple[str, int, int], str] = {}
        self._ends: dict[TopicPartition, int] = {}  # of analytics-events, as far as read

    def wait_for(self, sent: Sequence[SentEvent], stop: Stop) -> None:
        """Read until all of `sent` came out, or nothing more comes, or a stop is requested."""
        arrived = 0
        give_up = time.monotonic() + QUIET_SECONDS
        while arrived < len(sent) and not stop.requested and time.monotonic() < give_up:
            self._read()
            now = sum(self._times(event) > 0 for event in sent)
            if now > arrived:
                arrived, give_up = now, time.monotonic() + QUIET_SECONDS
        # A second copy of an event would stand before the end of now.
        for partition, end in self._reader.end_offsets(self._partitions).items():
            while self._reader.position(partition) < end and not stop.requested:
                self._read()

    def wait_for_group(self, group: str, stop: Stop) -> bool:
        """Wait until a consumer group has read what was read here; give back whether it did so in time."""
        committed = KafkaConsumer(**client_settings(self._servers), group_id=group).committed
        give_up = time.monotonic() + GROUP_SECONDS
        for partition, end in self._ends.items():
            while (committed(partition) or 0) < end and time.monotonic() < give_up:
                if stop.wait(POLL_MS / 1000):
                    return False
        return time.monotonic() < give_up

    def balanced(self, sent: Sequence[SentEvent]) -> bool:
        """Tell whether every event came out exactly once."""
        return all(self._times(event) == 1 for event in sent)

    def describe(self, sent: Sequence[SentEvent]) -> str:
        """Give the summary: what was sent, what came out as what, and whether that is the same."""
        clean = sum(self._clean[event.event_id] for event in sent if event.event_id)
        reasons = Counter(self._reasons[event[:3]] for event in sent for _ in range(self._dead[event[:3]]))
        topics = Counter(event.topic for event in sent)
        dead = reasons.total()
        sources = ", ".join(f"{topic} {number:,}" for topic, number in sorted(topics.items(), reverse=True))
        return "\n".join(
            [
                "",
                "This run",
                f"  {'sent':<14}{len(sent):>9,}   {sources}",
                f"  {'clean':<14}{clean:>9,}   {ANALYTICS_EVENTS}",
                f"  {'dead letters':<14}{dead:>9,}   {ANALYTICS_DLQ}",
                *(f"    {number:>21,}   {reason}" for reason, number in reasons.most_common()),
                f"  sent = clean + dead letters, each once: {'yes' if self.balanced(sent) else 'NO'} "
                f"({len(sent):,} and {clean:,} + {dead:,})",
                "",
            ]
        )

    def _read(self) -> None:
        for record in chain.from_iterable(self._reader.poll(timeout_ms=POLL_MS).values()):
            self._count(record)

    def _count(self, record: ConsumerRecord) -> None:
        if record.topic == ANALYTICS_EVENTS:
            self._ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            with suppress(msgspec.DecodeError, UnicodeDecodeError):  # a foreign record is none of this run's
                self._clean[str(decode(record.value or b"").event_id)] += 1
        elif letter := read_dead_letter(record.headers):
            source = (letter.topic, letter.partition, letter.offset)
            self._dead[source] += 1
            self._reasons[source] = letter.message

    def _times(self, event: SentEvent) -> int:
        """How often an event came out."""
        return self._dead[event[:3]] + (self._clean[event.event_id] if event.event_id else 0)
