"""Status lines: bare on a terminal, with time and level in front elsewhere, and by their level."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from pipeline.local import PROJECT

PROGRAM = """
import argparse, logging
from pipeline.cli.process import PipelineError, run
from pipeline.cli.status import add_log_level, log

def main():
    parser = argparse.ArgumentParser()
    add_log_level(parser)
    parser.parse_args()
    log.info("Processing 50 % of it")
    log.warning("Kafka is unreachable")
    logging.getLogger("kafka.client").error("what the client says in many lines")
    logging.getLogger("kafka.client").debug("what only a developer wants to know")
    raise PipelineError("refused")

run(main, "program")
"""


def status_lines(*options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_container_gets_time_and_level() -> None:
    lines = [re.sub(r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", "TIME ", line) for line in status_lines()]
    assert lines == [
        "TIME INFO Processing 50 % of it",
        "TIME WARNING Kafka is unreachable",
        "TIME ERROR program: refused",
    ]


def test_a_terminal_gets_the_bare_lines() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=PROJECT, stderr=theirs)
    os.close(theirs)
    shown = ""
    with suppress(OSError):  # at the end; a read may return less than all lines
        while True:
            shown += os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 1
    assert shown.splitlines() == ["Processing 50 % of it", "Kafka is unreachable", "program: refused"]


@pytest.mark.parametrize(("level", "number"), [("debug", 5), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_selects_the_lines(level: str, number: int) -> None:
    """The lines of libraries are shown only at the level debug."""
    assert len(status_lines("--log-level", level)) == number


def test_a_closed_stderr_is_no_error() -> None:
    program = PROGRAM.replace("raise PipelineError", "print")
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program], cwd=PROJECT,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "refused\n")
