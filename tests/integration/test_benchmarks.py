"""benchmarks/run.sh, small: every contestant does the work, and all figures are measured."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.options import SERVERS_VARIABLE
from pipeline.local import PROJECT
from pipeline.local.broker import Broker

FILES = {"results.json", "table.md", "chart.svg"}
LIBRARIES = {"processor", "ceiling", "quixstreams-tuned", "aiokafka", "confluent-kafka"}


@pytest.mark.only_in_full
def test_all_libraries_are_measured(kafka: Broker, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "benchmarks/run.sh", "--rounds", "1", "--events", "2000", "--seconds", "1",
         "--results", str(tmp_path), "--only", *LIBRARIES],
        cwd=PROJECT, env=os.environ | {SERVERS_VARIABLE: kafka.servers},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == FILES
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["failures"] == {}
    assert set(results["figures"]) == LIBRARIES
    for [figures] in results["figures"].values():
        assert {"start s", "events/s", "events/s, 2 processes", "p99 ms at 1000/s"} <= set(figures)
