"""What kafka-python's errors mean: which are final, which are about one record, and what to do next."""

import re
from collections.abc import Callable

from kafka.errors import (
    AuthorizationError,
    ClusterAuthorizationFailedError,
    CorruptRecordError,
    GroupAuthorizationFailedError,
    InvalidGroupIdError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RetriableError,
    TransactionalIdAuthorizationFailedError,
    UnsupportedCodecError,
    UnsupportedForMessageFormatError,
    UnsupportedVersionError,
)
from kafka.errors import KafkaError as KafkaError  # for pipeline/dlq/, which imports no kafka-python

from pipeline.cli.cluster import Cluster, Security
from pipeline.cli.process import PipelineError, run
from pipeline.client.refusals import ConnectionRefused, refusal_of

# In the words of kafka-acls
READ, WRITE = "Read", "Write"
TRANSACTIONAL_ID = "transactional-id"

# Another attempt would fail again: a person has to fix something first.
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
    UnsupportedForMessageFormatError,
    UnsupportedVersionError,
)
# Those of them that are about one record, not about the topic.
RECORD_ERRORS = (InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError)
FENCED = (ProducerFencedError, InvalidProducerEpochError)
ADVICE: dict[type[KafkaError], str] = {
    InvalidTimestampError: "Raise message.timestamp.after.max.ms of the topic (kafka-configs --alter).",
    MessageSizeTooLargeError: "Raise max.message.bytes of the topic (kafka-configs --alter).",
    UnsupportedCodecError: "Install the codec: pip install 'kafka-python[lz4,snappy,zstd]' xxhash.",
    CorruptRecordError: "To pass it: kafka-consumer-groups --reset-offsets --to-offset (docs/delivery.md).",
    UnsupportedForMessageFormatError: "Raise the topic's message.format.version: it is older than 0.11.",
}


def describe(error: Exception, operation: str = READ) -> str:
    """Return an error and what to do about it, for a person, in whole sentences.

    Args:
        error: of a client.
        operation: on a topic that was tried; Kafka does not say which one it refuses.
    """
    if isinstance(error, AuthorizationError):
        return not_allowed(*_resource_of(error, operation))
    advice = next((text for kind, text in ADVICE.items() if isinstance(error, kind)), "")
    if refusal := refusal_of(error, "an advertised listener", Cluster(""), Security()):
        return str(refusal)
    what = re.sub(r"^\[Error \d+] |: None$|\.$", "", str(error))
    return f"{what}. {advice}".strip()


def not_allowed(operation: str, kind: str, name: str) -> str:
    """Return the line about a missing right.

    Args:
        operation: the right, in the words of kafka-acls.
        kind: of the resource: topic, group, transactional-id or cluster.
        name: of the resource; empty where there is only one, or it is not known.
    """
    what = f"{kind} {name}".rstrip()
    prefixed = " (ids of a processor begin with its group: --resource-pattern-type prefixed)"
    return (
        f"Kafka does not allow {operation} on {what}. Allow it: kafka-acls --add --allow-principal User:NAME "
        f"--operation {operation} --{what}{prefixed if kind == TRANSACTIONAL_ID else ''}; "
        "docs/security.md has all rights."
    )


def _resource_of(error: AuthorizationError, operation: str) -> tuple[str, str, str]:
    """Return which right is missing on which resource, for not_allowed()."""
    names = error.args[0] if error.args else ""
    name = ",".join(sorted(names)) if isinstance(names, (set, frozenset, list)) else str(names or "")
    if isinstance(error, GroupAuthorizationFailedError):
        return READ, "group", name
    if isinstance(error, TransactionalIdAuthorizationFailedError):
        return WRITE, TRANSACTIONAL_ID, name
    if isinstance(error, ClusterAuthorizationFailedError):
        return "IdempotentWrite", "cluster", ""
    return operation, "topic", name


def is_fenced(error: Exception) -> bool:
    """Return whether a newer producer has the same transactional id, or the transaction timed out."""
    # An error that follows from fencing is a plain KafkaError with the first one among its arguments.
    return any(isinstance(cause, FENCED) for cause in (error, *error.args))


def run_kafka_script(main: Callable[[], None], name: str | None = None) -> None:
    """Call run() for a script with Kafka clients: an error of theirs ends it with one line, too.

    Args:
        main: does the work.
        name: the command that the user typed, where that is not the file that runs.
    """

    def main_without_kafka_errors() -> None:
        try:
            main()
        except KafkaError as error:
            if isinstance(error, (AuthorizationError, ConnectionRefused)):
                raise PipelineError(describe(error)) from error
            said = "does not answer" if isinstance(error, RetriableError) else "refused"
            raise PipelineError(f"Kafka {said}: {describe(error)}") from error

    run(main_without_kafka_errors, name)
