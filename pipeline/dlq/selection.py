"""Which dead letters are replayed, with which value, and in which batches. Sends nothing."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.cli.process import PipelineError, Stop, Stopped
from pipeline.cli.status import log
from pipeline.dead_letters import DeadLetter
from pipeline.dlq.edit import EditFailedError, NoSuchCommandError, edited
from pipeline.dlq.letters import Letter, identity
from pipeline.text import printable

# The limits of one transaction; a kill undoes no more than that.
MAX_BATCH_LETTERS = 500
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_BATCH_SECONDS = 1.0


class Outgoing(NamedTuple):
    """A letter to replay, with the value to send: its own, or an edited one."""

    letter: Letter
    dead: DeadLetter
    value: bytes | None


class Selection:
    """Selects the letters that can be replayed, and counts the others by reason.

    Attributes:
        failed: how many were selected and could not be replayed.
    """

    def __init__(self, partitions: Mapping[str, int], max_attempts: int, stop: Stop) -> None:
        """Set the rules.

        Args:
            partitions: the number of partitions of each source topic.
            max_attempts: a letter with as many attempts stays in the queue.
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

    def select(self, letters: Iterable[Letter]) -> Iterator[Outgoing]:
        """Return those that can be replayed, in their order."""
        for letter in letters:
            dead = letter.dead
            if dead is None:
                self._foreign += 1
                continue
            event = identity(letter.record, dead)
            if letter.replayed_at:
                self._before += 1
            elif event in self._seen:
                self._twice += 1
            elif obstacle := self._obstacle(dead):
                self._stay.append(_stays(letter, obstacle))
            else:
                yield Outgoing(letter, dead, letter.record.value)
            self._seen.add(event)

    def edit(self, selected: Iterable[Outgoing], command: str) -> Iterator[Outgoing]:
        """Replace the values by the output of a command; letters for which it fails stay in the queue.

        Args:
            selected: the letters.
            command: a shell command.

        Raises:
            PipelineError: there is no such command.
            Stopped: a stop was requested.
        """
        some_succeeded = False
        for letter, dead, value in selected:
            try:
                new = edited(command, value, lambda: self._stop.requested)
            except EditFailedError as error:
                if self._stop.requested:
                    raise Stopped from error
                if isinstance(error, NoSuchCommandError) and not some_succeeded:
                    raise PipelineError(f"--edit can't be run: {error}") from error
                self.failed += 1
                log.warning(_stays(letter, f"--edit failed: {error}"))
            else:
                some_succeeded = True
                yield Outgoing(letter, dead, new)

    def refused(self, refused: Outgoing, reason: str) -> None:
        """Count a letter that its source refused.

        Args:
            refused: the letter.
            reason: the broker's.
        """
        self.failed += 1
        self._stay.append(_stays(refused.letter, reason))

    def describe(self, sent: str) -> list[str]:
        """Return a summary: a line for each letter that stays in the queue, then one with all counts.

        Args:
            sent: the words about those that were sent.
        """
        counts = {
            "replayed before": self._before,
            "further letters of an event": self._twice,
            "foreign": self._foreign,
            "stay": len(self._stay),
        }
        others = [f"{count:,} {what}" for what, count in counts.items() if count]
        return [*self._stay, ", ".join([sent, *others])]

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
        rate: the highest number per second, 0 for as fast as it goes.
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


def _stays(letter: Letter, reason: str) -> str:
    return printable(f"{letter.place} stays: {reason}")
