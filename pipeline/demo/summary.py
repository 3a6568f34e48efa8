"""The account of one run: is everything that was sent either a clean event or a dead letter, each once?"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import Stop
from pipeline.client.producing import SentEvent
from pipeline.client.reading import GroupOffsets, Tail
from pipeline.dead_letters import place_of, read_dead_letter
from pipeline.schema import decode
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS

CHECK_SECONDS = 0.2
QUIET_SECONDS = 60.0
GROUP_SECONDS = 20.0


class Account:
    """Counts the records of analytics-events and analytics-dlq, each when it comes."""

    def __init__(self) -> None:
        """Start with none."""
        self._clean: Counter[str] = Counter()  # by event id
        self._dead: Counter[str] = Counter()  # by the place of the source record
        self._reasons: dict[str, str] = {}

    def count(self, records: Iterable[Any]) -> list[str]:
        """Count records; return the id of each clean event, and the source of each dead letter."""
        keys = []
        for record in records:
            if record.topic == ANALYTICS_EVENTS:
                # A record of another program is none of this run's
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    keys.append(event_id := str(decode(record.value or b"").event_id))
                    self._clean[event_id] += 1
            elif letter := read_dead_letter(record.headers):
                keys.append(source := place_of(letter))
                self._reasons[source] = letter.message
                self._dead[source] += 1
        return keys

    def copies_of(self, event: SentEvent) -> int:
        """Return how often an event came out."""
        return self._dead[place_of(event)] + (self._clean[event.event_id] if event.event_id else 0)

    def balanced(self, sent: Sequence[SentEvent]) -> bool:
        """Return whether every event came out exactly once."""
        return all(self.copies_of(event) == 1 for event in sent)

    def describe(self, sent: Sequence[SentEvent], stopped: bool = False) -> str:
        """Return the summary: what was sent, what came out as what, and whether that is the same.

        Args:
            sent: the events of this run.
            stopped: before all of them could come out; those that did not are then no loss.
        """
        clean = sum(self._clean[event.event_id] for event in sent if event.event_id)
        reasons: Counter[str] = Counter()
        for place in map(place_of, sent):
            if self._dead[place]:
                reasons[self._reasons[place]] += self._dead[place]
        topics = Counter(event.topic for event in sent)
        dead = reasons.total()
        coming = [event for event in sent if stopped and not self.copies_of(event)]
        once = self.balanced([event for event in sent if self.copies_of(event)] if stopped else sent)
        sources = ", ".join(f"{topic} {number:,}" for topic, number in sorted(topics.items(), reverse=True))
        return "\n".join(
            [
                "",
                "This run",
                f"  {'sent':<14}{len(sent):>9,}   {sources}",
                f"  {'clean':<14}{clean:>9,}   {ANALYTICS_EVENTS}",
                f"  {'dead letters':<14}{dead:>9,}   {ANALYTICS_DLQ}",
                *(f"    {number:>21,}   {reason}" for reason, number in reasons.most_common()),
                *([f"  {'to come':<14}{len(coming):>9,}   the next run processes them"] if coming else []),
                f"  sent = clean + dead letters{' + to come' if coming else ''}, each once: "
                f"{'yes' if once else 'NO'} "
                f"({len(sent):,} and {clean:,} + {dead:,}{f' + {len(coming):,}' if coming else ''})",
                "",
            ]
        )


class RunSummary:
    """Reads what comes to analytics-events and analytics-dlq from the moment it is made."""

    def __init__(self, cluster: Cluster) -> None:
        """Remember where both topics end now.

        Args:
            cluster: where Kafka is, and how to connect.
        """
        self.account = Account()
        self._cluster = cluster
        self._tail = Tail(cluster, ANALYTICS_EVENTS, ANALYTICS_DLQ)
        self._ends: dict[int, int] = {}  # of analytics-events, as far as read

    def follow(self, sent: Sequence[SentEvent], all_sent: threading.Event, group: str, stop: Stop) -> bool:
        """Read until all of `sent` came out, or nothing more comes, and until a group has committed it.

        Args:
            sent: the events of this run; it grows until all_sent is set.
            all_sent: set by another thread.
            group: a consumer group of analytics-events.
            stop: ends the waiting for the group.

        Returns:
            Whether the group committed in time.
        """
        while not all_sent.is_set():
            self._read()
        self._wait_for(sent)
        return self._wait_for_group(group, stop)

    def _wait_for(self, sent: Sequence[SentEvent]) -> None:
        waiting = [event for event in sent if not self.account.copies_of(event)]
        places = {place_of(event): place_of(event) for event in waiting}
        places |= {event.event_id: place_of(event) for event in waiting if event.event_id}
        missing = set(places.values())
        give_up = time.monotonic() + QUIET_SECONDS
        while missing and time.monotonic() < give_up:
            came = {places[key] for key in self._read() if key in places}
            if came & missing:
                give_up = time.monotonic() + QUIET_SECONDS
            missing -= came
        # A second copy of an event would be somewhere before the present end.
        ends = self._tail.ends()
        while not self._tail.is_at(ends):
            self._read()

    def _wait_for_group(self, group: str, stop: Stop) -> bool:
        offsets = GroupOffsets(self._cluster, group)
        give_up = time.monotonic() + GROUP_SECONDS
        while not offsets.reached(ANALYTICS_EVENTS, self._ends):
            if time.monotonic() > give_up or stop.wait(CHECK_SECONDS):
                return False
        return True

    def _read(self) -> list[str]:
        """Count what came; return its keys in the account."""
        records = self._tail.poll()
        for record in records:
            if record.topic == ANALYTICS_EVENTS:
                self._ends[record.partition] = record.offset + 1
        return self.account.count(records)
