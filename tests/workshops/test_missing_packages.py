"""A script whose packages are not installed ends with one line that says what to install."""

import os
import subprocess
import sys

import pytest

from pipeline.local import PROJECT
from tests.integration.pipelines import module_of

SCRIPTS = sorted(
    str(path.relative_to(PROJECT))
    for path in (*PROJECT.glob("*.py"), *(PROJECT / "workshops").glob("**/*.py"))
    if "import pipeline.start" in path.read_text()
)


@pytest.mark.parametrize("as_module", [True, False], ids=["-m", "path"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_missing_is_one_line(script: str, as_module: bool) -> None:
    command = ["-m", module_of(script)] if as_module else [script]
    # -S: without the environment's packages
    done = subprocess.run(
        [sys.executable, "-S", *command], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    file = "workshops/musinsa/requirements.txt" if "musinsa" in script else "requirements.txt"
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{os.path.basename(script)}: not installed: kafka-python, msgspec")
    assert line.endswith(f"pip install -r {file}")
    assert ("psycopg, opensearch-py" in line) is ("musinsa" in script)
