"""Measures one contestant once: starts its processes, sends events, ends the processes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import psutil

from benchmarks.stage import Event, Stage
from pipeline.cli.options import SERVERS_VARIABLE
from pipeline.cli.process import PipelineError
from pipeline.cli.status import BARE_LINES_VARIABLE
from pipeline.local import PROJECT

WARM_UP_EVENTS = 600
START_SECONDS = 60.0
DRAIN_SECONDS = 300.0
END_SECONDS = 10.0
BEGINNING = 0.2  # the share of the events sent at a steady rate that does not count for the latencies
MEBIBYTE = 2**20

Figures = dict[str, float]


@dataclass(frozen=True)
class Contestant:
    """A program that does the work.

    Attributes:
        name: for the command line and the JSON file.
        label: for people.
        command: the arguments of Python; --group is added.
        is_copy: whether it copies what it reads, without processing it.
    """

    name: str
    label: str
    command: tuple[str, ...]
    is_copy: bool = False


@dataclass(frozen=True)
class Load:
    """The load for every contestant.

    Attributes:
        backlog: the number of events that are sent at once.
        rates: events per second that are sent steadily, one rate after the other.
        seconds: how long at each rate.
    """

    backlog: int
    rates: tuple[int, ...]
    seconds: int

    @property
    def total(self) -> int:
        """The number of events that are needed."""
        return 2 * WARM_UP_EVENTS + sum(self.rates) * self.seconds + self.backlog


class Processes:
    """The processes of a contestant inside a with block, and the CPU time and memory that they take."""

    def __init__(self, stage: Stage, contestant: Contestant, number: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the processes
        environment = os.environ | {
            "TOPIC_PREFIX": stage.prefix,
            SERVERS_VARIABLE: stage.servers,
            BARE_LINES_VARIABLE: "yes",  # the last one may end up in a line of ours
        }
        command = [sys.executable, *contestant.command, "--group", stage.group]
        self._running = [
            psutil.Popen(
                command, cwd=PROJECT, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
            )
            for _ in range(number)
        ]  # fmt: skip
        self.peak_bytes = 0

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(END_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
        self._errors.close()

    def look(self) -> None:
        """Record how much memory the largest process has.

        Raises:
            PipelineError: a process has ended.
        """
        for process in self._running:
            if process.poll() is not None:
                self._errors.seek(0)
                output = self._errors.read().decode(errors="replace").strip() or "no reason given"
                raise PipelineError(f"It ended by itself: {output.splitlines()[-1]}")
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)

    def cpu_seconds(self) -> float:
        """Return the CPU time that all processes have used so far."""
        times = [process.cpu_times() for process in self._running]
        return float(sum(each.user + each.system for each in times))


def measure_one(servers: str, contestant: Contestant, load: Load, events: Sequence[Event]) -> Figures:
    """Measure everything with one process.

    Args:
        servers: bootstrap servers.
        contestant: the one to measure.
        load: the load to measure with.
        events: at least as many as the load takes.

    Raises:
        PipelineError: it failed, or what came out was not what went in.
    """
    left = iter(events)
    with closing(Stage(servers)) as stage:
        stage.load(_take(left, WARM_UP_EVENTS))
        began = time.monotonic()
        with Processes(stage, contestant, 1) as processes:
            figures = {"start s": stage.wait_for_first(START_SECONDS, processes.look) - began}
            stage.wait_until_drained(DRAIN_SECONDS, processes.look)
            for rate in load.rates:
                cpu_before = processes.cpu_seconds()
                steady = _take(left, rate * load.seconds)
                taken = stage.latencies(steady, rate, DRAIN_SECONDS, processes.look)
                share = (processes.cpu_seconds() - cpu_before) / load.seconds
                figures |= _percentiles(taken, rate) | {f"cpu % at {rate}/s": share * 100}
            seconds, cpu_seconds = _drain(stage, processes, _take(left, load.backlog))
            figures["events/s"] = load.backlog / seconds
            figures["cpu us/event"] = cpu_seconds / load.backlog * 1e6
            figures["peak MiB"] = processes.peak_bytes / MEBIBYTE
        stage.check(contestant.is_copy)
    return figures


def measure_two(servers: str, contestant: Contestant, load: Load, events: Sequence[Event]) -> Figures:
    """Measure the throughput of two processes that share the partitions.

    Args:
        servers: bootstrap servers.
        contestant: the one to measure.
        load: the load to measure with; only the backlog is used.
        events: at least as many as that takes.

    Raises:
        PipelineError: they failed, or what came out was not what went in.
    """
    left = iter(events)
    with closing(Stage(servers)) as stage:
        stage.load(_take(left, WARM_UP_EVENTS))
        with Processes(stage, contestant, 2) as processes:
            stage.wait_for_members(2, START_SECONDS)
            stage.load(_take(left, WARM_UP_EVENTS))
            stage.wait_until_drained(DRAIN_SECONDS, processes.look)
            seconds, _ = _drain(stage, processes, _take(left, load.backlog))
        stage.check(contestant.is_copy)
    return {"events/s, 2 processes": load.backlog / seconds}


def _drain(stage: Stage, processes: Processes, events: Sequence[Event]) -> tuple[float, float]:
    """Send a backlog; return the seconds from its arrival to the last commit, and the CPU seconds."""
    arrived = stage.load(events)
    cpu_before = processes.cpu_seconds()
    done = stage.wait_until_drained(DRAIN_SECONDS, processes.look)
    return done - arrived, processes.cpu_seconds() - cpu_before


def _take(events: Iterator[Event], number: int) -> list[Event]:
    return [next(events) for _ in range(number)]


def _percentiles(taken: Sequence[float], rate: int) -> Figures:
    counted = sorted(taken[int(len(taken) * BEGINNING) :])
    return {
        f"p{percent:g} ms at {rate}/s": counted[int(len(counted) * percent / 100)] * 1000
        for percent in (50, 99, 99.9)
    }
