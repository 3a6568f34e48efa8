"""run.sh: all four scripts in one terminal.

    ./run.sh           one event per second from each producer, until Ctrl-C
    ./run.sh 500       500 events from each producer as fast as they go
    ./run.sh --config client.properties 500      on a Kafka with TLS, user and password
    ./run.sh --secure 500                        on a secured one, each script with a user of its own

Every line stands under the name of the script that printed it. At the end comes a summary.
"""

import pipeline.start

import argparse
import os
import shlex
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timezone
from typing import Any

import msgspec

from pipeline.cli.cluster import Cluster
from pipeline.cli.options import OptionParser, add_connection, choose_cluster, parse_servers, whole_number
from pipeline.cli.process import PipelineError, Stop
from pipeline.cli.status import add_log_level, log
from pipeline.client.admin import ensure_topics
from pipeline.client.errors import run_kafka_script
from pipeline.client.producing import SentEvent
from pipeline.demo.scripts import CONSUMER, PROCESSOR, PRODUCERS, Script, stop_scripts, stopped_at_the_end
from pipeline.demo.summary import RunSummary
from pipeline.local import PROJECT, broker
from pipeline.local.broker import Broker
from pipeline.text import time_text
from pipeline.topics import (
    ANALYTICS_DLQ,
    ANALYTICS_EVENTS,
    CONSUMER_GROUP,
    PURCHASE_EVENTS,
    TOPIC_PREFIX,
    WEB_EVENTS,
)

LOOK_SECONDS = 0.2
# After Ctrl-C, in this order, before the process ends in any case
PRODUCERS_STOP_SECONDS = 1.5
LAST_RESULTS_SECONDS = 0.7
STOP_SECONDS = 4.8  # with HURRIED_STOP_SECONDS of scripts.py in between


def run_scripts(
    cluster: Cluster, count: int | None, stop: Stop, options_of: Callable[[str], Sequence[str]]
) -> None:
    """Run the four scripts until all events came out, or until Ctrl-C, and print a summary.

    Args:
        cluster: where Kafka is, and how to connect.
        count: events from each producer, as fast as they go; None for one per second until Ctrl-C.
        stop: ends it early.
        options_of: returns the options of a script.

    Raises:
        PipelineError: a script failed, or what was sent is not what came out.
    """
    sent: list[SentEvent] = []
    all_sent = threading.Event()
    summary = RunSummary(cluster)
    scripts: list[Script] = []
    with stopped_at_the_end(scripts, stop):
        for name in (PROCESSOR, CONSUMER):
            scripts.append(Script(stop, name, *options_of(name)))
        how_many = () if count is None else ("--count", str(count), "--rate", "0")
        for name in PRODUCERS:
            scripts.append(
                Script(stop, name, *options_of(name), *how_many, "--json", line_of=_collector(sent))
            )
        readers, producers = scripts[:2], scripts[2:]
        # In a thread of its own: a call of the client may take longer than we may after Ctrl-C
        printed = ThreadPoolExecutor(1).submit(summary.follow, sent, all_sent, CONSUMER_GROUP, stop)
        while any(producer.running for producer in producers) and not stop.wait(LOOK_SECONDS):
            _require_running(scripts if count is None else readers)
            _require_no_error(printed)
        if stop.requested:
            if sys.stdout.isatty():
                print()  # the terminal shows ^C where the cursor is
            stop_scripts(producers, PRODUCERS_STOP_SECONDS)
        else:
            for producer in producers:
                producer.join()
        all_sent.set()
        while not printed.done() and not stop.wait(LOOK_SECONDS):
            _require_running(readers)
        if not stop.requested:
            _require_no_error(printed)
        else:
            wait([printed], LAST_RESULTS_SECONDS)
    print(summary.account.describe(sent, stopped=stop.requested))
    if stop.requested:
        return
    for producer in producers:
        if producer.process.returncode != 0:
            raise PipelineError(f"{producer.name}.py failed; its error is above.")
    if not summary.account.balanced(sent):
        raise PipelineError("Sent is not clean + dead letters.")
    if not printed.result():
        raise PipelineError(f"{CONSUMER}.py did not print everything in time.")


def _require_running(scripts: Sequence[Script]) -> None:
    for script in scripts:
        if not script.running:
            raise PipelineError(f"{script.name}.py ended by itself; its error is above.")


def _require_no_error(work: Future[bool]) -> None:
    if work.done():
        work.result()


def _collector(sent: list[SentEvent]) -> Callable[[str], str]:
    """Return what reads a JSON line of a producer: it adds the event to `sent`, and shows it to people."""

    def collect(line: str) -> str:
        try:
            event = msgspec.json.decode(line, type=SentEvent)
        except msgspec.DecodeError:  # a producer that was killed may leave half a line
            return line
        line, event.value = event.as_line(), ""  # a run until Ctrl-C may last for days
        sent.append(event)
        return line

    return collect


def _hints(kafka: Broker, of_dlq: Cluster, started: datetime) -> str:
    """Return the commands to go on with; they work where they are copied to another terminal."""
    prefix = f"TOPIC_PREFIX={shlex.quote(TOPIC_PREFIX)} " if TOPIC_PREFIX else ""
    of_this_run = f"{shlex.join(_connection(of_dlq))} --since {time_text(started)}"
    file = kafka.cluster.config_file
    tool_config = f" --consumer.config {shlex.quote(file)}" if file else ""
    again = "./run.sh --secure" if kafka.clients else "./run.sh"
    dlq = f"  {prefix}{broker.PYTHON} dlq.py"
    lines = []
    called_from = os.environ.get("OLDPWD", "")  # run.sh has changed to the project's folder
    if os.path.isdir(called_from) and not os.path.samefile(called_from, PROJECT):
        lines += ["The commands below work in the project's folder:", f"  cd {shlex.quote(str(PROJECT))}"]
    lines += ["Look into the DLQ:"]
    if kafka.tool and kafka.cluster.java_reads_it:
        lines += [
            f"  {kafka.tool}kafka-console-consumer --bootstrap-server {kafka.servers} "
            f"--topic {shlex.quote(ANALYTICS_DLQ)} --from-beginning{tool_config}"
        ]
    lines += [
        f"{dlq} stats {of_this_run}",
        f"{dlq} list {of_this_run}",
        f"Replay these letters; the next {prefix}{again} processes them:",
        f"{dlq} replay {of_this_run}",
    ]
    if kafka.stop:
        lines += ["Kafka stays up. Stop it:", f"  {kafka.stop}"]
    return "\n".join(lines)


def _start_kafka(options: Any) -> Broker:  # noqa: ANN401, argparse's namespace
    """Find or start a broker, and create the topics.

    Raises:
        PipelineError: there is none.
    """
    if options.secure:
        kafka = broker.secured(parse_servers(options.cluster.servers)[0][1])
    else:
        kafka = broker.ready(
            broker.choose(named=bool(options.bootstrap_servers or options.config)), options.cluster
        )
    log.info(f"Kafka at {kafka.servers} ({kafka.how})")
    ensure_topics(kafka.cluster, WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ)
    return kafka


def _parse_options() -> Any:  # noqa: ANN401, argparse's namespace
    parser = OptionParser(
        prog="./run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "count", nargs="?", type=whole_number(), help="events from each producer (default: until Ctrl-C)"
    )
    parser.add_argument("--secure", action="store_true", help="start a secured Kafka on this machine")
    add_connection(parser)
    add_log_level(parser)
    options = parser.parse_args()
    if options.secure and options.config:
        parser.error("--secure starts a Kafka with users of its own; it excludes --config")
    return options


def _connection(cluster: Cluster) -> list[str]:
    """Return the options of a script that connect it to the same cluster."""
    if not cluster.config_file:
        return ["--bootstrap-servers", cluster.servers]
    if choose_cluster(config_file=cluster.config_file).servers == cluster.servers:
        return ["--config", cluster.config_file]
    return ["--bootstrap-servers", cluster.servers, "--config", cluster.config_file]


def main() -> None:
    """Find or start a broker, create the topics, run the scripts."""
    pipeline.start.interrupt_from_now_on()
    options = _parse_options()
    # Before Stop: here Ctrl-C has to interrupt a download, or the start of a broker
    kafka = _start_kafka(options)
    stop = Stop(STOP_SECONDS)
    log_options = ["--log-level", options.log_level] if options.log_level else []
    log_options += ["--log-format", options.log_format] if options.log_format else []

    def options_of(script: str) -> list[str]:
        return [*_connection(kafka.cluster_of(script)), *log_options]

    started = datetime.now(timezone.utc)
    try:
        run_scripts(kafka.cluster, options.count, stop, options_of)
    finally:
        print(_hints(kafka, kafka.cluster_of("dlq"), started))


if __name__ == "__main__":
    run_kafka_script(main, "run.sh")
