"""docs/operations.md and docs/alerts.yml agree with the code; promtool checks the rules where it is there."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local import PROJECT

OPERATIONS = (PROJECT / "docs/operations.md").read_text()
ALERTS = PROJECT / "docs/alerts.yml"
# What a processor prints comes from these; those of a file of --config are in docs/security.md.
FILES = (
    "stream_processor.py",
    "pipeline/cli/pages.py",
    "pipeline/cli/process.py",
    "pipeline/client/admin.py",
    "pipeline/client/consuming.py",
    "pipeline/client/errors.py",
    "pipeline/client/exactly_once.py",
    "pipeline/client/health.py",
    "pipeline/client/liveness.py",
    "pipeline/client/metrics.py",
    "pipeline/client/refusals.py",
    "pipeline/client/transactions.py",
    "pipeline/client/watchdog.py",
)
FEWEST_WORDS = 3
NO_LINES = ("Counter", "Gauge", "Histogram", "ArgumentParser", "compile", "sub", "option_parser")
NO_LINE = {"text/plain; charset=utf-8"}
SETTINGS = {"EXAMPLES"}
METRIC = re.compile(r"\bpipeline_[a-z_]+")


def lines_of(file: str) -> Iterator[str]:
    """Return the texts of a file that are shown to people: an ellipsis stands for what is filled in."""
    tree = ast.parse((PROJECT / file).read_text())
    skipped: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_other_call = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in NO_LINES
        is_setting = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in SETTINGS
        if is_text or is_other_call or is_setting:  # docstrings; names and help of metrics
            skipped |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.JoinedStr) and id(node) not in skipped:
            skipped |= {id(inner) for inner in ast.walk(node) if inner is not node}
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


LINES = sorted(
    {
        line.strip().partition("\n")[0]
        for file in FILES
        for line in lines_of(file)
        if len(re.findall(r"\w+", line)) >= FEWEST_WORDS and " " in line.strip() and line not in NO_LINE
    }
)


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_in_the_table(line: str) -> None:
    """Its first sentence: the next step, behind that, is in the line itself."""
    sentence = re.split(r"(?<=[\w)…])\. ", line)[0].strip().rstrip(".")
    pieces = [re.escape(piece.strip()) for piece in sentence.split("…") if re.search(r"\w", piece)]
    assert re.search(".*".join(pieces), OPERATIONS), f"{sentence!r} is not in docs/operations.md"


def test_the_lines_are_found() -> None:
    assert "Resumed from the committed offsets." in LINES
    assert "…; restarting this process." in LINES
    assert len(LINES) > 30


def test_each_metric_of_the_rules_and_the_document_is_on_a_real_page() -> None:
    code = """
import urllib.request
from pipeline.cli.cluster import Cluster
from pipeline.client.metrics import serve_metrics
import socket
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
serve_metrics(port, Cluster("localhost:1"), "group", ["topic"])
print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
"""
    page = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    assert page.returncode == 0, page.stderr
    known = set(re.findall(r"^# TYPE (pipeline_\w+)", page.stdout, re.MULTILINE))
    used = set(METRIC.findall(ALERTS.read_text())) | set(METRIC.findall(OPERATIONS))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} == known


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


def test_the_rules_are_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should(promtool: str, tmp_path: Path) -> None:
    tests = tmp_path / "alerts_test.yml"
    tests.write_text((PROJECT / "tests/unit/alerts_test.yml").read_text().replace("ALERTS", str(ALERTS)))
    done = subprocess.run([promtool, "test", "rules", str(tests)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_that_the_document_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", OPERATIONS))
    assert named
    sources = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    for name in named:
        assert f"def {name}(" in sources, name


def test_the_image_has_what_is_copied_and_runs_as_another_user() -> None:
    lines = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    for word, rest in instructions:
        if word == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert list(PROJECT.glob(source)), f"{source} does not exist"
        if word in ("ENTRYPOINT", "CMD", "RUN"):
            assert rest.startswith("["), f"{word} {rest} runs a shell, which would get the SIGTERM"
    assert dict(instructions)["USER"] == "10001:10001"
    assert all(
        "==" in line or line.startswith(("#", "-r "))
        for file in ("requirements.txt", "requirements/metrics.txt", "requirements/oauth.txt")
        for line in (PROJECT / file).read_text().splitlines()
    )
