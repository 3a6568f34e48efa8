"""Reads web-events and purchase-events and brings both into one schema.

What is valid goes to analytics-events, what is broken to analytics-dlq, byte for byte and with the reason in
its headers. It is a consumer and a producer at the same time, and a transaction ties the two together: every
event counts exactly once, whatever dies when. Several of these may run at once, as a consumer group.
"""

from pipeline.connection import (
    ANALYTICS_DLQ,
    ANALYTICS_EVENTS,
    OUTPUTS,
    PROCESSOR_GROUP,
    PURCHASE_EVENTS,
    WEB_EVENTS,
    ensure_topics,
)
from pipeline.dead_letters import dead_letter_headers
from pipeline.events import BrokenEventError, encode, normalize_purchase, normalize_web
from pipeline.exactly_once import ExactlyOnce
from pipeline.options import group_name, option_parser
from pipeline.presence import tell_when_away
from pipeline.printing import Printer
from pipeline.process import Stop, collect_garbage_seldom, run
from pipeline.status import Progress, say
from pipeline.watchdog import is_restart

SOURCES = {WEB_EVENTS: normalize_web, PURCHASE_EVENTS: normalize_purchase}
# The workshop fixes this line to the letter, whatever prefix the topics have.
DLQ_LINE = "[DLQ] 처리 실패 이벤트를 analytics-dlq 토픽으로 전송합니다."
EXAMPLES = """
    python3 stream_processor.py
    python3 stream_processor.py --group second-try    # reads everything once more, for itself
"""


def main() -> None:
    """Poll both topics, normalize, route, commit, print, until Ctrl-C."""
    parser = option_parser(__doc__, EXAMPLES)
    parser.add_argument(
        "--group", type=group_name, default=PROCESSOR_GROUP, help="consumer group (default: %(default)s)"
    )
    options = parser.parse_args()
    stop = Stop()
    if not is_restart():  # by the watchdog; the topics are there, and a broker that is away is waited for
        ensure_topics(options.bootstrap_servers, *SOURCES, *OUTPUTS)
    tell_when_away(options.bootstrap_servers)
    say(f"Processing {' and '.join(SOURCES)} at {options.bootstrap_servers}; Ctrl-C to stop.")

    collect_garbage_seldom()
    clean, dead = 0, 0
    progress = Progress("events processed")
    with (
        Printer(stop) as printer,
        ExactlyOnce(options.bootstrap_servers, options.group, list(SOURCES), OUTPUTS, stop) as kafka,
    ):
        while not stop.requested:
            records = kafka.poll()
            dead_letters = []
            for record in records:
                normalize = SOURCES[record.topic]
                try:
                    value = encode(normalize(record.value))
                except BrokenEventError as error:
                    headers = dead_letter_headers(record, error, options.group)
                    kafka.send(ANALYTICS_DLQ, record, record.value, headers)
                    where = f"{record.topic}[{record.partition}]@{record.offset}"
                    dead_letters.append(f"{DLQ_LINE}\n    {where}: {error}")
                else:
                    kafka.send(ANALYTICS_EVENTS, record, value, record.headers)
            # All of the batch or nothing of it; so a line printed here is a fact, not an attempt.
            if kafka.commit():
                printer.print(dead_letters)
                progress.add(len(records))
                dead += len(dead_letters)
                clean += len(records) - len(dead_letters)
    progress.end()
    say(f"Stopped after {clean + dead} events: {clean} clean, {dead} dead letters.")


if __name__ == "__main__":
    run(main)
