"""The dead letter queue of the storing consumers: a letter is in it before its record counts as done."""

from collections.abc import Sequence

from kafka import KafkaProducer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.errors import FINAL_ERRORS, describe
from pipeline.client.producing import flush
from pipeline.client.settings import connection_settings
from pipeline.client.transactions import (
    EXPIRY_SECONDS,
    BytesOrNull,
    close_in_background,
    error_of,
    send_as_it_is,
)
from pipeline.dead_letters import dead_letter_headers
from workshops.musinsa.kinds import UnstorableError

REQUEST_SECONDS = 5.0
DELIVERY_SECONDS = 8.0
CONFIRM_SECONDS = 10.0  # the database ends a transaction that is idle for 30 s

Letter = tuple[ConsumerRecord, UnstorableError]


class DeadLetterQueue:
    """Sends dead letters and waits for the broker.

    Without a transaction: the client may report one that the broker aborted as committed. So after a failure
    letters may be there twice, but none is missing.
    """

    def __init__(self, cluster: Cluster, topic: str, group: str) -> None:
        """Connect at the first letter.

        Args:
            cluster: where Kafka is, and how to connect.
            topic: the dead letter queue.
            group: the consumer group that can't store the records.
        """
        self._cluster, self._topic, self._group = cluster, topic, group
        self._client: KafkaProducer | None = None

    def send(self, letters: Sequence[Letter], partitions: int) -> None:
        """Send letters, and return when the broker has confirmed each.

        Args:
            letters: the records and the reasons.
            partitions: the number of the queue's partitions.

        Raises:
            KafkaError: Kafka may not have them.
            PipelineError: the queue does not take one of them; a person has to fix something first.
        """
        if self._client is None:
            self._client = self._new_producer()
        try:
            sent = [self._send(self._client, letter, partitions) for letter in letters]
            flush(self._client, CONFIRM_SECONDS)
            self._check(sent)
        except (KafkaError, PipelineError):
            # After one record has expired, kafka-python 3.0.12 sends nothing more.
            self.close()
            raise

    def close(self) -> None:
        """Close the producer without waiting for a broker that is unreachable; send() makes a new one."""
        if self._client is not None:
            close_in_background(self._client.close, timeout=EXPIRY_SECONDS)
            self._client = None

    def _new_producer(self) -> KafkaProducer:
        return KafkaProducer(
            **connection_settings(self._cluster),
            acks="all",  # a letter counts when all replicas have it
            enable_idempotence=True,  # a retry of the client never stores a letter twice
            # After these 8 s a letter has failed: earlier than flush() returns, so that its future knows.
            delivery_timeout_ms=int(DELIVERY_SECONDS * 1000),
            request_timeout_ms=int(REQUEST_SECONDS * 1000),  # must be less than delivery_timeout_ms
            max_block_ms=10_000,  # send() waits so long for the topic's leaders
            value_serializer=BytesOrNull(),  # a letter may have neither key nor value
            max_request_size=100 * 1024 * 1024,  # the topic decides which letter is too large
            linger_ms=1_000,  # the letters of a batch share a request: flush() sends what waits
        )

    def _send(self, producer: KafkaProducer, letter: Letter, partitions: int) -> FutureRecordMetadata:
        record, error = letter
        headers = dead_letter_headers(record, error, self._group)
        partition = record.partition % partitions
        return send_as_it_is(
            producer, self._topic, partition, record.key, record.value, headers, record.timestamp
        )

    def _check(self, sent: Sequence[FutureRecordMetadata]) -> None:
        errors = [error for future in sent if (error := error_of(future))]
        # The final error is not always the first: other letters fail because of it.
        for error in errors:
            if isinstance(error, FINAL_ERRORS):
                raise PipelineError(f"Topic {self._topic}: {describe(error)}") from error
        if errors:
            raise errors[0]
