"""Imports point one way: scripts -> demo -> dlq, local -> client -> cli -> the leaves."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local import PROJECT

LEAVES = {"start", "text", "topics", "schema", "dead_letters"}
MAY_IMPORT = {
    "start": set[str](),
    "text": set[str](),
    "topics": set[str](),
    "schema": {"text"},
    "dead_letters": set[str](),
    "cli": LEAVES,
    "client": LEAVES | {"cli"},
    "dlq": LEAVES | {"cli", "client"},
    "local": LEAVES | {"cli", "client"},
    "demo": LEAVES | {"cli", "client", "dlq", "local"},
}
FILES = sorted(path for path in (PROJECT / "pipeline").rglob("*.py") if path.parent.name != "__pycache__")


def room_of(module: str) -> str | None:
    """Return the room of a module such as pipeline.client.admin; None for one outside pipeline/."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "pipeline" else None


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the direction"
            # `from pipeline import topics` names a room behind the import
            inside = [f"{node.module}.{name.name}" for name in node.names]
            yield from inside if node.module == "pipeline" else [str(node.module)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_a_room_imports_only_rooms_below_it(file: Path) -> None:
    room = file.relative_to(PROJECT / "pipeline").parts[0].removesuffix(".py")
    if room == "__init__":
        assert list(imported_by(file)) == []
        return
    for module in imported_by(file):
        package = module.partition(".")[0]
        assert package not in ("workshops", "engines", "benchmarks", "tests"), f"{file} imports {module}"
        assert not (PROJECT / f"{package}.py").exists(), f"{file} imports the script {module}"
        assert package != "kafka" or room == "client", (
            f"{file} imports {module}: only client/ knows kafka-python"
        )
        if imported := room_of(module):
            assert imported == room or imported in MAY_IMPORT[room], f"{file} imports {module}"


def test_the_crawler_loads_no_kafka_client() -> None:
    code = "import workshops.musinsa.crawler, sys; sys.exit('kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_an_import_changes_no_logger() -> None:
    modules = [".".join(file.relative_to(PROJECT).with_suffix("").parts) for file in FILES]
    code = f"""
import importlib, logging
import kafka

def state():
    loggers = [logging.getLogger(name) for name in ("", "kafka", "pipeline")]
    return [(each.level, each.handlers[:], each.filters[:], each.disabled) for each in loggers]

before = state()
for module in [*{[module for module in modules if not module.endswith("__main__")]}, "stream_processor"]:
    importlib.import_module(module)
assert state() == before, (before, state())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
