"""run.sh: all four scripts in one terminal.

    ./run.sh           until Ctrl-C, one event per second from each producer
    ./run.sh 500       500 events from each producer as fast as they go, then a summary

Every line stands under the name of the script that printed it.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import msgspec

from pipeline import broker
from pipeline.broker import Broker
from pipeline.connection import (
    ANALYTICS_DLQ,
    ANALYTICS_EVENTS,
    CONSUMER_GROUP,
    PURCHASE_EVENTS,
    SERVERS_VARIABLE,
    WEB_EVENTS,
    ensure_topics,
)
from pipeline.options import whole_number
from pipeline.process import PipelineError, Stop, run
from pipeline.status import say
from pipeline.summary import Outputs, SentEvent

PROCESSOR, CONSUMER = "stream_processor", "consumer_analytics"
PRODUCERS = ("producer_web", "producer_purchase")
COLORS = {"producer_web": 36, "producer_purchase": 35, PROCESSOR: 33, CONSUMER: 32}
NAME_WIDTH = max(map(len, COLORS))

LOOK_SECONDS = 0.2
CHILD_STOP_SECONDS = 6.0
STOP_SECONDS = 15.0
SENT_LINE = re.compile(r"(sent  |broken) (\S+)\[(\d+)]@(\d+) (.*)")

_terminal = threading.Lock()


class Script:
    """One of the four scripts as a child process, its lines printed under its name."""

    def __init__(
        self, stop: Stop, name: str, *arguments: str, on_line: Callable[[str], None] | None = None
    ) -> None:
        """Start it.

        Args:
            stop: requested when nobody reads what is printed any more.
            name: the script's name without .py.
            arguments: its options.
            on_line: told each line that it prints on stdout.
        """
        self.name = name
        self._stop = stop
        self.process = subprocess.Popen(
            [sys.executable, f"{name}.py", *arguments],
            cwd=broker.PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; we stop the scripts in order
        )
        assert self.process.stdout
        assert self.process.stderr
        self._readers = [
            threading.Thread(target=self._show, args=(self.process.stdout, on_line)),
            threading.Thread(target=self._show, args=(self.process.stderr, None)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def join(self) -> None:
        """Wait for its end and its last line."""
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def _show(self, stream: IO[bytes], on_line: Callable[[str], None] | None) -> None:
        prefix = f"{self.name:<{NAME_WIDTH}} │"
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            prefix = f"\033[{COLORS[self.name]}m{prefix}\033[0m"
        for raw in stream:
            line = raw.decode(errors="backslashreplace").rstrip("\n")
            try:
                with _terminal:
                    print(f"{prefix} {line}", flush=True)
            except OSError:  # `./run.sh | head`; go on reading, or the script could not end
                self._stop.request()
            if on_line:
                on_line(line)


@contextmanager
def stopped_at_the_end(scripts: list[Script]) -> Iterator[None]:
    """Whatever happens inside of the with block, none of the scripts is left behind."""
    try:
        yield
    finally:
        for script in scripts:
            if script.running:
                script.process.send_signal(signal.SIGTERM)
        for script in scripts:
            try:
                script.process.wait(CHILD_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                script.process.kill()
            script.join()


def run_until_stopped(stop: Stop) -> None:
    """Run the four scripts until Ctrl-C.

    Raises:
        PipelineError: one of them ended by itself.
    """
    scripts: list[Script] = []
    with stopped_at_the_end(scripts):
        scripts += [Script(stop, name) for name in (PROCESSOR, CONSUMER, *PRODUCERS)]
        while not stop.wait(LOOK_SECONDS):
            _require_running(scripts)


def run_and_count(kafka: Broker, count: int, stop: Stop) -> None:
    """Send `count` events from each producer, wait for all of them, print a summary.

    Raises:
        PipelineError: a script failed, or what was sent is not what came out.
    """
    sent: list[SentEvent] = []
    outputs = Outputs(kafka.servers)
    scripts: list[Script] = []
    with stopped_at_the_end(scripts):
        servants = [Script(stop, PROCESSOR), Script(stop, CONSUMER)]
        scripts += servants
        arguments = ("--count", str(count), "--rate", "0")
        producers = [Script(stop, name, *arguments, on_line=_collector(sent)) for name in PRODUCERS]
        scripts += producers
        while any(producer.running for producer in producers) and not stop.wait(LOOK_SECONDS):
            _require_running(servants)
        if not stop.requested:
            for producer in producers:
                producer.join()
            outputs.wait_for(sent, stop)
            printed = outputs.wait_for_group(CONSUMER_GROUP, stop)
    if stop.requested:
        return
    print(outputs.describe(sent))
    for producer in producers:
        if producer.process.returncode != 0:
            raise PipelineError(f"{producer.name}.py failed; what it said stands above.")
    if not outputs.balanced(sent):
        raise PipelineError("Sent is not clean + dead letters.")
    if not printed:
        raise PipelineError(f"{CONSUMER}.py did not print everything in time.")


def _require_running(scripts: Sequence[Script]) -> None:
    for script in scripts:
        if not script.running:
            raise PipelineError(f"{script.name}.py ended by itself; what it said stands above.")


def _collector(sent: list[SentEvent]) -> Callable[[str], None]:
    """What a producer tells as sent goes into `sent`."""

    def collect(line: str) -> None:
        if match := SENT_LINE.fullmatch(line):
            label, topic, partition, offset, value = match.groups()
            event = msgspec.json.decode(value) if label.strip() == "sent" else {}
            event_id = event.get("event_id") or event.get("order_id")
            sent.append(SentEvent(topic, int(partition), int(offset), event_id))

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
    options = parser.parse_args()
    stop = Stop(STOP_SECONDS)
    kafka = broker.ready(broker.choose())
    say(f"Kafka at {kafka.servers} ({kafka.how})")
    os.environ[SERVERS_VARIABLE] = kafka.servers  # for the scripts
    ensure_topics(kafka.servers, WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ)
    try:
        if options.count is None:
            run_until_stopped(stop)
        else:
            run_and_count(kafka, options.count, stop)
    finally:
        print(_hints(kafka))


if __name__ == "__main__":
    run(main, "run.sh")
