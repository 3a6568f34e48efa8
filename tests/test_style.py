"""Style is tested like everything else, so that plain `pytest` reports the same as ./test.sh."""

import subprocess
import sys

import pytest

from pipeline.local import PROJECT

COMMANDS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy", "--strict", "."],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_style(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
