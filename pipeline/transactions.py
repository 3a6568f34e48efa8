"""A producer whose records count together or not at all.

What kafka-python 3.0.12 does between begin and commit when something fails is told here, at the place that
defends against it. A KafkaError ends the producer: an aborted transaction leaves state behind in the client
that the next one would send again, so whoever gets one closes it and makes a new one.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    CorruptRecordError,
    InvalidGroupIdError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    UnsupportedCodecError,
    UnsupportedVersionError,
)
from kafka.producer.future import FutureRecordMetadata
from kafka.serializer import Serializer
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from pipeline.connection import client_settings, flush
from pipeline.process import PipelineError

BATCH_BYTES = 256 * 1024
LINGER_MS = 1000  # what does not fill a batch waits for the commit, which flushes: few large requests
# Between a commit and the moment when all brokers know of it, they answer "try again": 1 to 5 ms.
RETRY_MS = 10
MAX_REQUEST_BYTES = 100 * 1024 * 1024  # what a broker takes at most (socket.request.max.bytes)

TRANSACTION_SECONDS = 10  # then the broker aborts it: others wait that long for what a killed one left open
REQUEST_SECONDS = 5
DELIVERY_SECONDS = 8  # what did not arrive by then would come too late for its transaction
EXPIRY_SECONDS = 12  # more than DELIVERY_SECONDS: closing once is enough, unless a producer hangs
CLOSE_SECONDS = 1.5
HANG_SECONDS = 20.0  # more than any of the above: a call that takes longer never returns

# Trying again would fail again: a person has to mend something first.
FINAL_ERRORS = (
    AuthorizationError,
    CorruptRecordError,
    InvalidGroupIdError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    UnsupportedCodecError,
    UnsupportedVersionError,
)
# Of these, those that are about one record, and not about the topic.
REFUSALS = (InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError)
FENCED = (ProducerFencedError, InvalidProducerEpochError)
ADVICE: dict[type[KafkaError], str] = {
    MessageSizeTooLargeError: "Raise max.message.bytes of the topic (kafka-configs --alter).",
    UnsupportedCodecError: "Install the codec: pip install 'kafka-python[lz4,snappy,zstd]'.",
    AuthorizationError: "Allow this client to read and write its topics (kafka-acls).",
}

NULL = object()


class BytesOrNull(Serializer):  # type: ignore[misc]  # the client has no types
    """Passes bytes on, and lets a null value out: send() itself refuses one if the key is null as well."""

    def serialize(self, topic: str, headers: object, data: object) -> object:
        """Give what goes on the wire."""
        return None if data is NULL else data


class RefusedError(PipelineError):
    """A topic does not take a record."""


class TransactionalProducer:
    """Sends records in transactions, one after the other."""

    def __init__(self, servers: str, transactional_id: str) -> None:
        """Connect, abort what another producer with this id left open, and fence that producer.

        Args:
            servers: bootstrap servers.
            transactional_id: only the producer that came last may use it.

        Raises:
            KafkaError: the broker is away, or refuses.
        """
        self._client = KafkaProducer(
            **client_settings(servers),
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
            delivery_timeout_ms=DELIVERY_SECONDS * 1000,
            request_timeout_ms=REQUEST_SECONDS * 1000,
            max_block_ms=TRANSACTION_SECONDS * 1000,
            value_serializer=BytesOrNull(),
            max_request_size=MAX_REQUEST_BYTES,  # what is too large, the topics decide
            batch_size=BATCH_BYTES,
            linger_ms=LINGER_MS,
            retry_backoff_ms=RETRY_MS,
            metrics_enabled=False,  # a tenth of the client's work at 1,000 events/s, and nobody reads them
        )
        self._sent: list[tuple[str, FutureRecordMetadata]] = []
        self._error: KafkaError | None = None
        try:
            self._client.init_transactions()
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            KafkaError: this producer is of no use any more.
        """
        self._sent, self._error = [], None
        self._client.begin_transaction()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp: int,
    ) -> None:
        """Send a record; commit() tells of errors.

        A header whose value is null gets an empty one: kafka-python can't send null there.

        Args:
            topic: where to.
            partition: its number there.
            key: of the record.
            value: of the record.
            headers: of the record.
            timestamp: milliseconds since 1970; the time of now where it is negative.
        """
        if self._error is not None:
            return  # the transaction is lost already; commit() says why
        try:
            future = self._client.send(
                topic,
                value=NULL if value is None else value,
                key=key,
                headers=[(name, content or b"") for name, content in headers] if headers else None,
                partition=partition,
                timestamp_ms=timestamp if timestamp >= 0 else None,
            )
        except KafkaError as error:
            self._error = error
        except ValueError as error:  # the topic was made anew, with fewer partitions
            self._error = KafkaError(str(error))
        else:
            self._sent.append((topic, future))

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        membership: ConsumerGroupMetadata | None = None,
    ) -> list[Any]:
        """Commit what was sent since begin().

        That this returns is not yet a proof: the client can take an aborted transaction for a committed one.
        Ask the broker for something that only the commit has made visible.

        Args:
            offsets: committed with it, for the group.
            membership: of the consumer that read up to these offsets, in that group.

        Returns:
            The metadata (topic, partition, offset) of each record, in the order in which they were sent.

        Raises:
            KafkaError: it is not known to be committed.
            RefusedError: a topic does not take one of the records.
            PipelineError: another error that a person has to mend first.
        """
        sent = self._confirm_sent()
        if offsets:
            self._client.send_offsets_to_transaction(offsets, membership)
        self._client.commit_transaction()
        self._sent = []
        return sent

    def close(self) -> None:
        """Close it, without waiting for a broker that is away."""
        close_in_background(self._client.close, timeout=EXPIRY_SECONDS)

    def _confirm_sent(self) -> list[Any]:
        """Ask every record: commit_transaction() would go on without those that expired, offsets included."""
        flush(self._client, TRANSACTION_SECONDS)
        failed = [
            (topic, error)
            for topic, future in self._sent
            if not future.succeeded() and (error := _error_of(future))
        ]
        # The one that a person has to mend is not always the first: others fail with it, through no fault
        # of their own.
        final = {topic: error for topic, error in failed if isinstance(error, FINAL_ERRORS)}
        if final:
            error = next(iter(final.values()))
            kind = RefusedError if isinstance(error, REFUSALS) else PipelineError
            raise kind(f"Topic {' or '.join(final)}: {told(error)}")
        if self._error is not None:
            raise self._error
        if failed:
            raise failed[0][1]
        return [future.value for _, future in self._sent]


def _error_of(future: FutureRecordMetadata) -> KafkaError | None:
    try:
        future.get(timeout=0)
    except KafkaError as error:
        return error
    return None


def close_in_background(close: Callable[..., None], **arguments: object) -> None:
    """Close a client in a thread of its own, which nobody has to wait for.

    With a broker that is away, a producer can't be closed before its last records failed. What it still sends
    then, the transactional id fences.

    Args:
        close: the client's close().
        arguments: its arguments.
    """

    def close_in_the_end() -> None:
        while True:
            try:
                close(**arguments)
                return
            except KafkaTimeoutError:  # records wait; a producer given up now would keep its thread
                continue
            except KafkaError:
                return

    closing = threading.Thread(target=close_in_the_end, name="close", daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)


def told(error: KafkaError) -> str:
    """Give an error and what to do about it, for a person, in whole sentences."""
    advice = next((text for kind, text in ADVICE.items() if isinstance(error, kind)), "")
    what = re.sub(r"^\[Error \d+] |: None$|\.$", "", str(error))
    return f"{what}. {advice}".strip()


def is_fenced(error: KafkaError) -> bool:
    """Tell whether a producer with the same transactional id came later, or the transaction timed out."""
    # What fails after that is a plain KafkaError, with the first error in it.
    return any(isinstance(cause, FENCED) for cause in (error, *error.args))
