"""Which dead letters go back to their source, with which value, and in which batches. Sends nothing."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.dead_letters import DeadLetter
from pipeline.edit import EditFailedError, edited
from pipeline.events import printable
from pipeline.letters import Letter, identity
from pipeline.process import Stop
from pipeline.status import say

# One transaction takes as much, and gathers no longer: a kill costs no more than that.
MAX_BATCH_LETTERS = 500
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_BATCH_SECONDS = 1.0


class Outgoing(NamedTuple):
    """A letter that goes back, with the value to send: its own, or an edited one."""

    letter: Letter
    dead: DeadLetter
    value: bytes | None


class Selection:
    """Takes the letters that can go back, and remembers why others stay.

    Attributes:
        edits_failed: how many stay for that reason.
    """

    def __init__(self, partitions: Mapping[str, int], max_attempts: int, stop: Stop) -> None:
        """Set the rules.

        Args:
            partitions: how many each source has.
            max_attempts: a letter that was tried as often stays.
            stop: ends an edit.
        """
        self.edits_failed = 0
        self._partitions = partitions
        self._max_attempts = max_attempts
        self._stop = stop
        self._taken: set[bytes] = set()
        self._sent_back = 0
        self._foreign = 0
        self._stay: list[str] = []

    def take(self, letters: Iterable[Letter]) -> Iterator[Outgoing]:
        """Give those that can go back, in their order."""
        for letter in letters:
            dead = letter.dead
            if dead is None:
                self._foreign += 1
            elif letter.sent_back_at or identity(letter.record, dead) in self._taken:
                self._sent_back += 1
            elif obstacle := self._obstacle(dead):
                self._stay.append(printable(f"{letter.place} stays: {obstacle}"))
            else:
                self._taken.add(identity(letter.record, dead))
                yield Outgoing(letter, dead, letter.record.value)

    def edit(self, taken: Iterable[Outgoing], command: str) -> Iterator[Outgoing]:
        """Give letters with the values that a command makes of theirs, and leave out those it fails for.

        Args:
            taken: from take().
            command: for the shell.

        Raises:
            PipelineError: there is no such command.
        """
        for letter, dead, value in taken:
            try:
                yield Outgoing(letter, dead, edited(command, value, lambda: self._stop.requested))
            except EditFailedError as error:
                if self._stop.requested:
                    return
                self.edits_failed += 1
                say(printable(f"{letter.place} stays: --edit failed: {error}"))

    def describe(self, sent: str) -> str:
        """Give a summary: the letters that stay by their names, then how many there are of which kind.

        Args:
            sent: what to say of those that were taken.
        """
        counts = {
            "sent back before": self._sent_back,
            "foreign": self._foreign,
            "stay": len(self._stay),
            "stay because --edit failed": self.edits_failed,
        }
        others = [f"{count:,} {what}" for what, count in counts.items() if count]
        return "\n".join([*self._stay, ", ".join([sent, *others])])

    def _obstacle(self, dead: DeadLetter) -> str | None:
        if dead.delivery_count >= self._max_attempts:
            return f"tried {dead.delivery_count} times: {dead.message}"
        if dead.partition >= self._partitions[dead.topic]:
            return f"{dead.topic} has no partition {dead.partition}"
        return None


def batches(letters: Iterable[Outgoing], rate: float, stop: Stop) -> Iterator[list[Outgoing]]:
    """Gather letters into batches, each for a transaction of its own.

    Args:
        letters: as they come.
        rate: how many in a second at the most, 0 for as fast as it goes.
        stop: ends the waiting for the next batch.
    """
    most = min(MAX_BATCH_LETTERS, max(1, int(rate * MAX_BATCH_SECONDS))) if rate else MAX_BATCH_LETTERS
    started = time.monotonic()
    given, size, gathered_by = 0, 0, started + MAX_BATCH_SECONDS
    batch: list[Outgoing] = []
    for outgoing in letters:
        batch.append(outgoing)
        size += len(outgoing.value or b"")
        if len(batch) >= most or size >= MAX_BATCH_BYTES or time.monotonic() > gathered_by:
            yield batch
            given += len(batch)
            if rate:
                stop.wait(started + given / rate - time.monotonic())
            batch, size, gathered_by = [], 0, time.monotonic() + MAX_BATCH_SECONDS
    if batch:
        yield batch
