"""The account of one run: is everything that was sent either a clean event or a dead letter, each once?"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from pipeline.cli.process import Stop
from pipeline.client.producing import SentEvent
from pipeline.client.reading import GroupOffsets, Tail
from pipeline.dead_letters import place_of, read_dead_letter
from pipeline.schema import decode
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS

CHECK_SECONDS = 0.2
QUIET_SECONDS = 60.0
GROUP_SECONDS = 20.0


class RunSummary:
    """Counts what comes to analytics-events and analytics-dlq from the moment it is made."""

    def __init__(self, servers: str) -> None:
        """Remember where both topics end now.

        Args:
            servers: bootstrap servers.
        """
        self._servers = servers
        self._tail = Tail(servers, ANALYTICS_EVENTS, ANALYTICS_DLQ)
        self._clean: Counter[str] = Counter()  # by event id
        self._dead: Counter[str] = Counter()  # by the place of the source record
        self._reasons: dict[str, str] = {}
        self._ends: dict[int, int] = {}  # of analytics-events, as far as read

    def wait_for(self, sent: Sequence[SentEvent], stop: Stop) -> None:
        """Read until all of `sent` came out, or nothing more comes, or a stop is requested."""
        places = {place_of(event): place_of(event) for event in sent}
        places |= {event.event_id: place_of(event) for event in sent if event.event_id}
        missing = set(places.values())
        give_up = time.monotonic() + QUIET_SECONDS
        while missing and not stop.requested and time.monotonic() < give_up:
            came = {places[key] for key in self._read() if key in places}
            if came & missing:
                give_up = time.monotonic() + QUIET_SECONDS
            missing -= came
        # A second copy of an event would be somewhere before the present end.
        ends = self._tail.ends()
        while not self._tail.is_at(ends) and not stop.requested:
            self._read()

    def wait_for_group(self, group: str, stop: Stop) -> bool:
        """Wait until a consumer group has committed what was read here; return whether it did so in time."""
        offsets = GroupOffsets(self._servers, group)
        give_up = time.monotonic() + GROUP_SECONDS
        while not offsets.reached(ANALYTICS_EVENTS, self._ends):
            if time.monotonic() > give_up or stop.wait(CHECK_SECONDS):
                return False
        return True

    def balanced(self, sent: Sequence[SentEvent]) -> bool:
        """Return whether every event came out exactly once."""
        return all(self._copies_of(event) == 1 for event in sent)

    def describe(self, sent: Sequence[SentEvent]) -> str:
        """Return the summary: what was sent, what came out as what, and whether that is the same."""
        clean = sum(self._clean[event.event_id] for event in sent if event.event_id)
        reasons: Counter[str] = Counter()
        for place in map(place_of, sent):
            if self._dead[place]:
                reasons[self._reasons[place]] += self._dead[place]
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

    def _read(self) -> list[str]:
        """Count what came; return the id of each clean event, and the source of each dead letter."""
        keys = []
        for record in self._tail.poll():
            if record.topic == ANALYTICS_EVENTS:
                self._ends[record.partition] = record.offset + 1
                # A record of another program is none of this run's
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    keys.append(event_id := str(decode(record.value or b"").event_id))
                    self._clean[event_id] += 1
            elif letter := read_dead_letter(record.headers):
                keys.append(source := place_of(letter))
                self._dead[source] += 1
                self._reasons[source] = letter.message
        return keys

    def _copies_of(self, event: SentEvent) -> int:
        """Return how often an event came out."""
        return self._dead[place_of(event)] + (self._clean[event.event_id] if event.event_id else 0)
