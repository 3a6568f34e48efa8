"""run.sh: all four scripts in one terminal.

    ./run.sh           until Ctrl-C, one event per second from each producer
    ./run.sh 500       500 events from each producer as fast as they go, then a summary

Every line stands under the name of the script that printed it.
"""

import argparse
import os
from collections.abc import Callable, Sequence

import msgspec

from pipeline.cli.options import SERVERS_VARIABLE, whole_number
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import add_log_level, log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.producing import SentEvent
from pipeline.demo.scripts import CONSUMER, PROCESSOR, PRODUCERS, Script, stopped_at_the_end
from pipeline.demo.summary import RunSummary
from pipeline.local import broker
from pipeline.local.broker import Broker
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, CONSUMER_GROUP, PURCHASE_EVENTS, WEB_EVENTS

LOOK_SECONDS = 0.2
STOP_SECONDS = 15.0


def run_until_stopped(stop: Stop, options: Sequence[str]) -> None:
    """Run the four scripts, with these options, until Ctrl-C.

    Raises:
        PipelineError: one of them ended by itself.
    """
    scripts: list[Script] = []
    with stopped_at_the_end(scripts):
        scripts += [Script(stop, name, *options) for name in (PROCESSOR, CONSUMER, *PRODUCERS)]
        while not stop.wait(LOOK_SECONDS):
            _require_running(scripts)


def run_and_count(kafka: Broker, count: int, stop: Stop, options: Sequence[str]) -> None:
    """Send `count` events from each producer, wait for all of them, print a summary.

    Args:
        kafka: the broker.
        count: events from each producer.
        stop: ends it, without a summary.
        options: of all four scripts.

    Raises:
        PipelineError: a script failed, or what was sent is not what came out.
    """
    sent: list[SentEvent] = []
    summary = RunSummary(kafka.servers)
    scripts: list[Script] = []
    with stopped_at_the_end(scripts):
        readers = [Script(stop, name, *options) for name in (PROCESSOR, CONSUMER)]
        scripts += readers
        arguments = (*options, "--count", str(count), "--rate", "0", "--json")
        producers = [Script(stop, name, *arguments, line_of=_collector(sent)) for name in PRODUCERS]
        scripts += producers
        while any(producer.running for producer in producers) and not stop.wait(LOOK_SECONDS):
            _require_running(readers)
        if not stop.requested:
            for producer in producers:
                producer.join()
            summary.wait_for(sent, stop)
            printed = summary.wait_for_group(CONSUMER_GROUP, stop)
    if stop.requested:
        return
    print(summary.describe(sent))
    for producer in producers:
        if producer.process.returncode != 0:
            raise PipelineError(f"{producer.name}.py failed; its error is above.")
    if not summary.balanced(sent):
        raise PipelineError("Sent is not clean + dead letters.")
    if not printed:
        raise PipelineError(f"{CONSUMER}.py did not print everything in time.")


def _require_running(scripts: Sequence[Script]) -> None:
    for script in scripts:
        if not script.running:
            raise PipelineError(f"{script.name}.py ended by itself; its error is above.")


def _collector(sent: list[SentEvent]) -> Callable[[str], str]:
    """Return what reads a JSON line of a producer: it adds the event to `sent`, and shows it to people."""

    def collect(line: str) -> str:
        try:
            event = msgspec.json.decode(line, type=SentEvent)
        except msgspec.DecodeError:  # a producer that was killed may leave half a line
            return line
        sent.append(event)
        return event.as_line()

    return collect


def _hints(kafka: Broker) -> str:
    lines = [
        "Look into the DLQ:",
        f"  {kafka.tool}kafka-console-consumer --bootstrap-server {kafka.servers} "
        f"--topic {ANALYTICS_DLQ} --from-beginning",
        f"  {broker.PYTHON} dlq.py stats --bootstrap-servers {kafka.servers}",
    ]
    if kafka.stop:
        lines += ["Kafka stays up. Stop it:", f"  {kafka.stop}"]
    return "\n".join(lines)


def main() -> None:
    """Find or start a broker, make the topics, run the scripts."""
    parser = argparse.ArgumentParser(
        prog="./run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "count", nargs="?", type=whole_number(), help="events from each producer (default: until Ctrl-C)"
    )
    add_log_level(parser)
    options = parser.parse_args()
    stop = Stop(STOP_SECONDS)
    kafka = broker.ready(broker.choose())
    log.info(f"Kafka at {kafka.servers} ({kafka.how})")
    os.environ[SERVERS_VARIABLE] = kafka.servers  # for the scripts
    ensure_topics(kafka.servers, WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ)
    of_all = ("--log-level", options.log_level) if options.log_level else ()
    try:
        if options.count is None:
            run_until_stopped(stop, of_all)
        else:
            run_and_count(kafka, options.count, stop, of_all)
    finally:
        print(_hints(kafka))


if __name__ == "__main__":
    run_kafka_script(main, "run.sh")
