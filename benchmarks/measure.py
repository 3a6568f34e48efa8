"""One contestant, measured once: its processes are started, given events, and ended."""

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
from pipeline.broker import PROJECT
from pipeline.connection import SERVERS_VARIABLE
from pipeline.process import PipelineError

WARM_UP_EVENTS = 600
START_SECONDS = 60.0
DRAIN_SECONDS = 300.0
END_SECONDS = 10.0
BEGINNING = 0.2  # this share of the events sent at a steady rate is left out of the latencies
MEBIBYTE = 2**20

Figures = dict[str, float]


@dataclass(frozen=True)
class Contestant:
    """A program that does the work.

    Attributes:
        name: for the command line and the JSON file.
        label: for people.
        command: what Python runs; --group comes behind it.
        is_copy: whether it copies what it reads, and does not look at it.
    """

    name: str
    label: str
    command: tuple[str, ...]
    is_copy: bool = False


@dataclass(frozen=True)
class Load:
    """What every contestant is given.

    Attributes:
        backlog: how many events there are at once.
        rates: events a second that come steadily, one rate after the other.
        seconds: how long at each rate.
    """

    backlog: int
    rates: tuple[int, ...]
    seconds: int

    @property
    def total(self) -> int:
        """How many events that takes."""
        return 2 * WARM_UP_EVENTS + sum(self.rates) * self.seconds + self.backlog


class Processes:
    """The processes of a contestant inside of a with block, and what they take of the machine."""

    def __init__(self, stage: Stage, contestant: Contestant, number: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the processes
        environment = os.environ | {"TOPIC_PREFIX": stage.prefix, SERVERS_VARIABLE: stage.servers}
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
        """Note how much memory the largest one has.

        Raises:
            PipelineError: one has ended.
        """
        for process in self._running:
            if process.poll() is not None:
                self._errors.seek(0)
                told = self._errors.read().decode(errors="replace").strip() or "no reason given"
                raise PipelineError(f"It ended by itself: {told.splitlines()[-1]}")
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)

    def cpu_seconds(self) -> float:
        """How much processor time all have used so far."""
        times = [process.cpu_times() for process in self._running]
        return float(sum(each.user + each.system for each in times))


def measure_one(servers: str, contestant: Contestant, load: Load, events: Sequence[Event]) -> Figures:
    """Measure everything with one process.

    Args:
        servers: bootstrap servers.
        contestant: whom.
        load: what it is given.
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
        contestant: whom.
        load: what they are given; only its backlog counts.
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
    """Give the seconds, and those of processor time, from the moment when all is there to the last commit."""
    there = stage.load(events)
    cpu_before = processes.cpu_seconds()
    done = stage.wait_until_drained(DRAIN_SECONDS, processes.look)
    return done - there, processes.cpu_seconds() - cpu_before


def _take(events: Iterator[Event], number: int) -> list[Event]:
    return [next(events) for _ in range(number)]


def _percentiles(taken: Sequence[float], rate: int) -> Figures:
    counted = sorted(taken[int(len(taken) * BEGINNING) :])
    return {
        f"p{percent:g} ms at {rate}/s": counted[int(len(counted) * percent / 100)] * 1000
        for percent in (50, 99, 99.9)
    }
