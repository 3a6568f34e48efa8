"""Which dead letters go back to their source, with which value, and in which batches. Sends nothing."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.dead_letters import DeadLetter
from pipeline.edit import EditFailedError, NoSuchCommandError, edited
from pipeline.letters import Letter, identity
from pipeline.process import PipelineError, Stop, Stopped
from pipeline.status import say
from pipeline.text import printable

# A transaction takes as much, and is gathered for no longer: a kill costs no more than that.
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
        failed: how many stay although they were to go.
    """

    def __init__(self, partitions: Mapping[str, int], max_attempts: int, stop: Stop) -> None:
        """Set the rules.

        Args:
            partitions: how many each source has.
            max_attempts: a letter that was tried as often stays.
            stop: ends an edit.
        """
        self.failed = 0
        self._partitions = partitions
        self._max_attempts = max_attempts
        self._stop = stop
        self._seen: set[bytes] = set()
        self._twice = 0
        self._before = 0
        self._foreign = 0
        self._stay: list[str] = []

    def take(self, letters: Iterable[Letter]) -> Iterator[Outgoing]:
        """Give those that can go back, in their order."""
        for letter in letters:
            dead = letter.dead
            if dead is None:
                self._foreign += 1
                continue
            event = identity(letter.record, dead)
            if letter.sent_back_at:
                self._before += 1
            elif event in self._seen:
                self._twice += 1
            elif obstacle := self._obstacle(dead):
                self._stay.append(_stays(letter, obstacle))
            else:
                yield Outgoing(letter, dead, letter.record.value)
            self._seen.add(event)

    def edit(self, taken: Iterable[Outgoing], command: str) -> Iterator[Outgoing]:
        """Give letters with the values that a command makes of theirs, without those it fails for.

        Args:
            taken: from take().
            command: for the shell.

        Raises:
            PipelineError: there is no such command.
            Stopped: a stop was requested.
        """
        some_succeeded = False
        for letter, dead, value in taken:
            try:
                new = edited(command, value, lambda: self._stop.requested)
            except EditFailedError as error:
                if self._stop.requested:
                    raise Stopped from error
                if isinstance(error, NoSuchCommandError) and not some_succeeded:
                    raise PipelineError(f"--edit can't be run: {error}") from error
                self.failed += 1
                say(_stays(letter, f"--edit failed: {error}"))
            else:
                some_succeeded = True
                yield Outgoing(letter, dead, new)

    def keep(self, refused: Outgoing, why: str) -> None:
        """Count a letter that could not be sent among those that stay.

        Args:
            refused: the letter.
            why: what the broker said.
        """
        self.failed += 1
        self._stay.append(_stays(refused.letter, why))

    def describe(self, sent: str) -> str:
        """Give a summary: the letters that stay by their names, then how many there are of which kind.

        Args:
            sent: what to say of those that were sent.
        """
        counts = {
            "sent back before": self._before,
            "second letters of an event": self._twice,
            "foreign": self._foreign,
            "stay": len(self._stay),
        }
        others = [f"{count:,} {what}" for what, count in counts.items() if count]
        return "\n".join([*self._stay, ", ".join([sent, *others])])

    def _obstacle(self, dead: DeadLetter) -> str | None:
        if dead.delivery_count >= self._max_attempts:
            return f"tried {dead.delivery_count} times (--max-attempts {self._max_attempts}): {dead.message}"
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
    batch: list[Outgoing] = []
    size, gather_until, not_before = 0, time.monotonic() + MAX_BATCH_SECONDS, time.monotonic()
    for outgoing in letters:
        batch.append(outgoing)
        size += len(outgoing.value or b"")
        if len(batch) >= most or size >= MAX_BATCH_BYTES or time.monotonic() > gather_until:
            stop.wait(not_before - time.monotonic())
            not_before = time.monotonic() + (len(batch) / rate if rate else 0)
            yield batch
            batch, size, gather_until = [], 0, time.monotonic() + MAX_BATCH_SECONDS
    if batch:
        stop.wait(not_before - time.monotonic())
        yield batch


def _stays(letter: Letter, why: str) -> str:
    return printable(f"{letter.place} stays: {why}")
