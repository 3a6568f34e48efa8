"""A producer whose records are committed together or not at all.

Between begin and commit kafka-python 3.0.12 has some habits that lose records when something fails; each is
described where the code defends against it. After any KafkaError the producer must be closed and recreated:
an aborted transaction leaves state behind in the client that the next transaction would send again.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TransactionalIdAuthorizationFailedError,
)
from kafka.producer.future import FutureRecordMetadata
from kafka.serializer import Serializer
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from pipeline.cli.process import PipelineError
from pipeline.client.errors import FINAL_ERRORS, RECORD_ERRORS, WRITE, describe, not_allowed
from pipeline.client.producing import flush
from pipeline.dead_letters import Headers

EXPIRY_SECONDS = 12  # more than the delivery time-out: after it close() succeeds, unless the producer hangs
CLOSE_SECONDS = 1.5


class Contents:
    """The value and the headers of a record, as BytesOrNull takes them; any of them may be null."""

    __slots__ = ("headers", "value")

    def __init__(self, value: bytes | None, headers: Headers = ()) -> None:
        self.value = value
        self.headers = headers


class BytesOrNull(Serializer):  # type: ignore[misc]  # the client has no types
    """The value_serializer that a TransactionalProducer needs: it can send null where Kafka allows it.

    KafkaProducer.send() itself refuses a null value with a null key, and null as the value of a header. It
    checks before it calls this.
    """

    def serialize(self, topic: str, headers: list[tuple[str, bytes | None]], data: object) -> object:
        """Return the bytes to send, or None for a null value; add the headers of the Contents."""
        if type(data) is Contents:
            headers.extend(data.headers)
            return data.value
        return data


class _Unchecked(list[tuple[str, bytes | None]]):
    """The headers of Contents: kafka-python counts the bytes of any others, and fails where one is null."""

    def __bool__(self) -> bool:
        return False


class RefusedError(PipelineError):
    """A topic does not take a record."""


class TransactionalProducer:
    """Sends records in transactions, one after the other.

    Attributes:
        seconds: the time-out of a transaction; after it the broker aborts what is left open.
    """

    def __init__(self, producer: KafkaProducer) -> None:
        """Fence any other producer with this transactional id, and abort what it left open.

        Args:
            producer: just made, with a transactional_id and value_serializer=BytesOrNull(). It is closed with
                this object, also where this constructor fails.

        Raises:
            KafkaError: the broker is unreachable, or refuses.
        """
        self._client = producer
        self.seconds = producer.config["transaction_timeout_ms"] / 1000
        self._sent: list[tuple[str, FutureRecordMetadata]] = []
        self._error: KafkaError | None = None
        try:
            producer.init_transactions()
        except TransactionalIdAuthorizationFailedError as error:
            self.close()
            raise TransactionalIdAuthorizationFailedError(producer.config["transactional_id"]) from error
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            KafkaError: this producer must be closed and recreated.
        """
        self._sent, self._error = [], None
        self._client.begin_transaction()

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp: int | None,
    ) -> None:
        """Send a record; commit() reports errors.

        Args:
            topic: the topic to send to.
            partition: the number of its partition.
            key: of the record.
            value: of the record.
            headers: of the record.
            timestamp: of the record, see send_as_it_is().

        Raises:
            RefusedError: it is larger than a request may be (max_request_size), whatever its topic allows.
        """
        if self._error is not None:
            return  # the transaction is lost already; commit() reports the reason
        try:
            future = send_as_it_is(self._client, topic, partition, key, value, headers, timestamp)
        except MessageSizeTooLargeError as error:
            largest = self._client.config["max_request_size"]
            raise RefusedError(f"is larger than a request to Kafka may be ({largest} bytes)") from error
        except KafkaError as error:
            self._error = error
        else:
            self._sent.append((topic, future))

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        membership: ConsumerGroupMetadata | None = None,
    ) -> list[Any]:
        """Commit what was sent since begin().

        A return is no proof: the client can take an aborted transaction for a committed one. Ask the broker
        for something that only the commit has made visible.

        Args:
            offsets: committed together with the records, for the group.
            membership: of the consumer that read up to these offsets, in that group.

        Returns:
            The metadata (topic, partition, offset) of each record, in the order in which they were sent.

        Raises:
            KafkaError: it is not known whether the transaction is committed.
            RefusedError: a topic does not take one of the records.
            PipelineError: another error that a person has to fix first.
        """
        sent = self._confirm_sent()
        if offsets:
            self._client.send_offsets_to_transaction(offsets, membership)
        self._client.commit_transaction()
        self._sent = []
        return sent

    def close(self) -> None:
        """Close the producer without waiting for a broker that is unreachable."""
        close_in_background(self._client.close, timeout=EXPIRY_SECONDS)

    def _confirm_sent(self) -> list[Any]:
        """Check every record: commit_transaction() would ignore those that expired, offsets or not."""
        flush(self._client, self.seconds)
        failed = [
            (topic, error)
            for topic, future in self._sent
            if not future.succeeded() and (error := error_of(future))
        ]
        # The final error is not always the first: other records fail because of it.
        final = {topic: error for topic, error in failed if isinstance(error, FINAL_ERRORS)}
        if final:
            error = next(iter(final.values()))
            kind = RefusedError if isinstance(error, RECORD_ERRORS) else PipelineError
            if isinstance(error, AuthorizationError):
                raise PipelineError(not_allowed(WRITE, "topic", ",".join(sorted(final))))
            raise kind(f"Topic {' or '.join(final)}: {describe(error)}")
        if self._error is not None:
            raise self._error
        if failed:
            raise failed[0][1]
        return [future.value for _, future in self._sent]


def send_as_it_is(
    producer: KafkaProducer,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp: int | None,
) -> FutureRecordMetadata:
    """Send a record whose contents somebody else chose: key and value may both be null.

    Args:
        producer: with value_serializer=BytesOrNull().
        topic: the topic to send to.
        partition: the number of its partition.
        key: of the record.
        value: of the record.
        headers: of the record.
        timestamp: milliseconds since 1970; -1 or None for none.

    Raises:
        KafkaError: it can't be sent.
    """
    try:
        return producer.send(
            topic,
            value=Contents(value, headers) if headers or value is None else value,
            key=key,
            headers=_Unchecked() if headers else None,
            partition=partition,
            timestamp_ms=-1 if timestamp is None else timestamp,  # None would become the current time
        )
    except ValueError as error:  # the topic was recreated with fewer partitions
        raise KafkaError(str(error)) from error


def error_of(future: FutureRecordMetadata) -> KafkaError | None:
    """Return the error of a record that was flushed; None if it arrived."""
    try:
        future.get(timeout=0)
    except KafkaError as error:
        return error
    return None


def close_in_background(close: Callable[..., None], **arguments: object) -> None:
    """Close a client in a thread of its own, and wait for that CLOSE_SECONDS at most.

    While the broker is unreachable, a producer can't be closed before its last records have failed. What it
    still sends by then, the broker rejects: its transactional id is fenced.

    Args:
        close: the client's close().
        arguments: its arguments.
    """

    def close_in_the_end() -> None:
        while True:
            try:
                close(**arguments)
                return
            except KafkaTimeoutError:  # records wait; an abandoned producer would keep its thread
                continue
            except KafkaError:
                return

    closing = threading.Thread(target=close_in_the_end, name="close", daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)
