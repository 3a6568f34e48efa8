"""Quix Streams with processing_guarantee="exactly-once", a streaming dataframe for each source."""

import tempfile
from collections.abc import Sequence

from quixstreams import Application, message_context
from quixstreams.models.serializers import BytesSerializer, SerializationContext

from benchmarks.contestants.work import SOURCES, Outcome, Record, contestant_parser, plain_servers, process
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS

DEFAULT_COMMIT_SECONDS = 5.0  # of the library
POLL_SECONDS = 1.0  # the library's default


class OutcomeSerializer(BytesSerializer):  # type: ignore[misc]  # the library is not checked
    """Sends the value of an outcome."""

    def __call__(self, value: Outcome, ctx: SerializationContext) -> bytes | None:
        """Return the bytes to send."""
        return value.value


def application(servers: str, group: str, commit_seconds: float, state_folder: str) -> Application:
    """Describe the work.

    Args:
        servers: bootstrap servers.
        group: consumer group.
        commit_seconds: how long a transaction is.
        state_folder: an empty folder; it stays empty.
    """
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=commit_seconds,
        # The commit waits for poll() to return: an idle loop would commit a second late.
        consumer_poll_timeout=min(POLL_SECONDS, commit_seconds),
        auto_create_topics=False,
        state_dir=state_folder,  # by default a folder in the current one, even without any state
        loglevel="ERROR",
    )

    def outcome(
        value: bytes | None, _key: bytes, _timestamp: int, headers: Sequence[tuple[str, bytes]] | None
    ) -> Outcome:
        source = message_context()
        record = Record(source.topic, source.partition, source.offset, headers or [])
        return process(record, value, group)

    outputs = {
        name: app.topic(name, value_serializer=OutcomeSerializer())
        for name in (ANALYTICS_EVENTS, ANALYTICS_DLQ)
    }
    for source in SOURCES:
        outcomes = app.dataframe(app.topic(source, value_deserializer="bytes")).apply(outcome, metadata=True)
        # A function chooses the topic: two filtered branches would copy each value, and take a third longer.
        outcomes.set_headers(lambda outcome, *_: outcome.headers).to_topic(
            lambda outcome, *_: outputs[outcome.topic]
        )
    return app


def main() -> None:
    """Run until Ctrl-C."""
    parser = contestant_parser(__doc__, "quixstreams_loop")
    parser.add_argument(
        "--commit-interval", type=float, default=DEFAULT_COMMIT_SECONDS, metavar="SECONDS",
        help="how long a transaction is (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        application(plain_servers(options.cluster), options.group, options.commit_interval, folder).run()


if __name__ == "__main__":
    main()
