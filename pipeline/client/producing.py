"""Sending without transactions: wait for room, learn what became of each record, flush, close."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from kafka.producer.future import FutureRecordMetadata

from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import Progress, log
from pipeline.client.errors import WRITE, describe
from pipeline.dead_letters import place_of

MAX_IN_FLIGHT = 10_000  # the client's buffer has no limit of its own
FOREVER_MS = 2**31 - 1
LAST_RECORDS_SECONDS = 2.0  # for what is still in flight when a stop is requested
ROOM_SECONDS = 0.2


class Deliveries:
    """What became of the records in flight: each is printed when it is in its topic, not before.

    The client calls back in a thread of its own, or, where the broker is faster than the loop that sends, in
    that loop.

    Attributes:
        progress: counts the delivered records.
    """

    def __init__(self, stop: Stop, what: str) -> None:
        """Start with none.

        Args:
            stop: ends all waiting; requested when nobody can read what is printed any more.
            what: the name of the records in the plural, such as "events".
        """
        self.progress = Progress(f"{what} sent")
        self._what = what
        self._stop = stop
        self._failures = 0
        self._print_error: OSError | None = None
        self._printing = threading.Lock()  # two lines at once would end as one line and an empty one
        self._room = threading.BoundedSemaphore(MAX_IN_FLIGHT)

    def wait_for_room(self) -> bool:
        """Return whether another record may be sent: False once a stop is requested."""
        while not self._room.acquire(timeout=ROOM_SECONDS):
            if self._stop.requested:
                return False
        return not self._stop.requested

    def track(self, future: FutureRecordMetadata, line: Callable[[Any], str]) -> None:
        """Print a line when the record is delivered, or report that it was not.

        Args:
            future: the result of send(), after wait_for_room().
            line: makes the line of the record's metadata (topic, partition, offset).
        """
        future.add_callback(self._delivered, line)
        future.add_errback(self._failed)

    def wait_for(self, future: FutureRecordMetadata, line: Callable[[Any], str]) -> None:
        """Do what track() does, and return when it is done."""
        try:
            self._delivered(line, future.get())
        except KafkaError as error:
            self._failed(error, report=True)

    def print(self, line: str) -> None:
        """Print a line in one piece, whichever thread does it."""
        try:
            with self._printing:
                print(line, flush=True)
        except OSError as error:  # the reader left, or the disk is full; raised here, nobody would see it
            self._print_error = error
            self._stop.request()

    def finish(self, producer: KafkaProducer) -> None:
        """Wait for the records in flight, close the producer, report.

        The wait is as long as Kafka is unreachable, but ends soon after a stop is requested.

        Args:
            producer: sends nothing new.

        Raises:
            OSError: stdout could not be written.
            PipelineError: records were not delivered.
        """
        while True:
            try:
                producer.flush(timeout=LAST_RECORDS_SECONDS)
                producer.close()
                break
            except KafkaError:
                if self._stop.requested:
                    self._stop.end(
                        f"Stopped before the broker confirmed the last {self._what}; "
                        "those are not reported as sent."
                    )
        self.progress.end()
        if self._print_error:
            raise self._print_error
        log.info(f"Sent {self.progress.count} {self._what}.")
        if self._failures:
            raise PipelineError(f"{self._failures} {self._what} could not be delivered.")

    def _delivered(self, line: Callable[[Any], str], metadata: Any) -> None:  # noqa: ANN401, no types
        try:
            self.print(line(metadata))
            with self._printing:
                self.progress.add()
        finally:
            self._room.release()

    def _failed(self, error: KafkaError, report: bool = False) -> None:
        """Count a failure; report the first one, as thousands may have the same reason."""
        with self._printing:
            if report or self._failures == 0:
                log.error(f"Not delivered: {describe(error, WRITE)}")
            self._failures += 1
        self._room.release()


class SentEvent(msgspec.Struct):
    """An event that a producer of made-up events has sent, as it prints it.

    Attributes:
        topic, partition, offset: its place.
        event_id: of the analytics event that it becomes; None if it was broken on purpose.
        value: its JSON, or what is left of it.
    """

    topic: str
    partition: int
    offset: int
    event_id: str | None
    value: str

    def as_line(self) -> str:
        """Return it as a line for a person."""
        return f"{'sent  ' if self.event_id else 'broken'} {place_of(self)} {self.value}"


def event_line(value: bytes, event_id: str | None, as_json: bool) -> Callable[[Any], str]:
    """Return what makes the line of an event that was sent, of the metadata of its record.

    Args:
        value: of the event.
        event_id: of the analytics event that it becomes; None if it was broken on purpose.
        as_json: whether the line is a JSON object, for a program.
    """

    def line(metadata: Any) -> str:  # noqa: ANN401, the client has no types
        # An event that was cut on purpose may end in the middle of a letter
        text = value.decode(errors="backslashreplace")
        event = SentEvent(metadata.topic, metadata.partition, metadata.offset, event_id, text)
        return msgspec.json.encode(event).decode() if as_json else event.as_line()

    return line


def flush(producer: KafkaProducer, seconds: float) -> None:
    """Wait until every record has arrived or failed.

    A batch that is larger than its topic allows is split by the client, and sent again; its own flush() takes
    that for an error, and does not wait for the halves.

    Args:
        producer: sends nothing new meanwhile.
        seconds: how long to wait at most.

    Raises:
        KafkaTimeoutError: some are still in flight.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(UnknownError):
            producer.flush(timeout=seconds)
            return
    raise KafkaTimeoutError(f"not all records were sent within {seconds:.0f} s")
