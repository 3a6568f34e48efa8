"""What kafka-python's errors mean: which are final, which are about one record, and what to do next."""

import re
from collections.abc import Callable

from kafka.errors import (
    AuthorizationError,
    CorruptRecordError,
    InvalidGroupIdError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RetriableError,
    UnsupportedCodecError,
    UnsupportedForMessageFormatError,
    UnsupportedVersionError,
)
from kafka.errors import KafkaError as KafkaError  # for pipeline/dlq/, which imports no kafka-python

from pipeline.cli.process import PipelineError, run

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
    MessageSizeTooLargeError: "Raise max.message.bytes of the topic (kafka-configs --alter).",
    UnsupportedCodecError: "Install the codec: pip install 'kafka-python[lz4,snappy,zstd]'.",
    CorruptRecordError: "To pass it: kafka-consumer-groups --reset-offsets --to-offset (docs/delivery.md).",
    UnsupportedForMessageFormatError: "Raise the topic's message.format.version: it is older than 0.11.",
    AuthorizationError: "Allow this client to read and write its topics (kafka-acls).",
}


def describe(error: Exception) -> str:
    """Return an error and what to do about it, for a person, in whole sentences."""
    advice = next((text for kind, text in ADVICE.items() if isinstance(error, kind)), "")
    what = re.sub(r"^\[Error \d+] |: None$|\.$", "", str(error))
    return f"{what}. {advice}".strip()


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
            said = "does not answer" if isinstance(error, RetriableError) else "refused"
            raise PipelineError(f"Kafka {said}: {describe(error)}") from error

    run(main_without_kafka_errors, name)
