"""Quix Streams with processing_guarantee="exactly-once": a dataframe for each source, two branches each."""

import tempfile
from functools import partial

from quixstreams import Application, message_context

from benchmarks.contestants.work import SOURCES, Outcome, Record, contestant_parser, process
from pipeline.connection import ANALYTICS_DLQ, ANALYTICS_EVENTS

COMMIT_SECONDS = 5.0  # the library's default
POLL_SECONDS = 1.0  # likewise


def application(servers: str, group: str, commit_seconds: float, state: str) -> Application:
    """Describe the work.

    Args:
        servers: bootstrap servers.
        group: consumer group.
        commit_seconds: how long a transaction is.
        state: an empty folder.
    """
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=commit_seconds,
        # An idle loop looks at the clock only when poll() returns.
        consumer_poll_timeout=min(POLL_SECONDS, commit_seconds),
        auto_create_topics=False,
        state_dir=state,  # nothing is kept there, but it is made, by default in the current folder
        loglevel="ERROR",
    )

    def outcome(value: bytes | None, key: bytes, timestamp: int, headers: list[tuple[str, bytes]]) -> Outcome:
        at = message_context()
        return process(Record(at.topic, at.partition, at.offset, headers or []), value, group)

    outputs = {
        topic: app.topic(topic, value_serializer="bytes") for topic in (ANALYTICS_EVENTS, ANALYTICS_DLQ)
    }
    for source in SOURCES:
        outcomes = app.dataframe(app.topic(source, value_deserializer="bytes")).apply(outcome, metadata=True)
        for name, topic in outputs.items():
            branch = outcomes.filter(partial(goes_to, name))
            branch = branch.set_headers(lambda outcome, _key, _timestamp, _headers: outcome.headers)
            branch.apply(lambda outcome: outcome.value).to_topic(topic)
    return app


def goes_to(topic: str, outcome: Outcome) -> bool:
    """Tell whether a record goes to a topic."""
    return outcome.topic == topic


def main() -> None:
    """Run until Ctrl-C."""
    parser = contestant_parser(__doc__, "quixstreams_loop")
    parser.add_argument(
        "--commit-interval", type=float, default=COMMIT_SECONDS, metavar="SECONDS",
        help="how long a transaction is (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        application(options.bootstrap_servers, options.group, options.commit_interval, state).run()


if __name__ == "__main__":
    main()
