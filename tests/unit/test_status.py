"""Status lines: bare on a terminal, with time and level in front elsewhere, and by their level."""

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from pipeline.cli.status import BARE_LINES_VARIABLE
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


TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
HOSTILE = """
from pipeline.cli.status import add_log_level, hide, log, set_up_logging
import argparse
set_up_logging()
parser = argparse.ArgumentParser()
add_log_level(parser)
parser.parse_args()
hide('pass"word')
log.warning('a\\x1b[2Jb\\nc\\0\\x7f \\x85 \\u2028 \\udcff "quoted" \\\\ 처리 실패 \\U0001f40d \\u202e')
log.warning('refused: pass"word')
try:
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("unexpected")
"""


def status_lines(*options: str, program: str = PROGRAM, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *options], cwd=PROJECT, env={**os.environ, **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == (program is PROGRAM)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_container_gets_time_and_level() -> None:
    lines = [re.sub(f"^{TIME} ", "TIME ", line) for line in status_lines()]
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


def test_json_has_the_same_lines() -> None:
    lines = [json.loads(line) for line in status_lines("--log-format", "json")]
    assert all(re.fullmatch(TIME, line.pop("time")) for line in lines)
    assert lines == [
        {"level": "info", "script": "-c", "message": "Processing 50 % of it"},
        {"level": "warning", "script": "-c", "message": "Kafka is unreachable"},
        {"level": "error", "script": "-c", "message": "program: refused"},
    ]


def test_json_is_one_printable_line_whatever_the_message() -> None:
    control, secret, error = status_lines("--log-format", "json", program=HOSTILE)
    assert all(line.isprintable() for line in (control, secret, error))
    assert "처리 실패" in control
    assert json.loads(control)["message"] == (
        'a\x1b[2Jb\nc\0\x7f \x85 \u2028 \udcff "quoted" \\ 처리 실패 \U0001f40d \u202e'
    )
    assert json.loads(secret)["message"] == "refused: [hidden]"
    message = json.loads(error)["message"]
    assert message.startswith("unexpected\nTraceback")
    assert message.endswith("ValueError: two\nlines")


def test_the_text_format_has_time_and_level_also_where_lines_are_bare() -> None:
    bare = {BARE_LINES_VARIABLE: "yes"}
    assert status_lines(**bare)[0] == "Processing 50 % of it"
    [line, *_] = status_lines("--log-format", "text", **bare)
    assert re.fullmatch(f"{TIME} INFO Processing 50 % of it", line)
