"""What a script does before it has imported anything: Ctrl-C ends it, a missing package is one line."""

import ast
import os
import signal
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.local import PROJECT

SCRIPTS = sorted(
    path.relative_to(PROJECT)
    for folder in (PROJECT, PROJECT / "workshops")
    for path in folder.glob("*.py" if folder == PROJECT else "**/*.py")
    if "run_kafka_script(main)" in path.read_text()
)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python into which nothing was installed."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def run(python: Path, script: Path, *folders: Path) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(map(str, (PROJECT, *folders)))
    return subprocess.run(
        [python, PROJECT / script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_script_imports_the_start_first(script: Path) -> None:
    body = ast.parse((PROJECT / script).read_text()).body
    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "import pipeline.start"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_clients_are_imported_ends_a_script(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Importing takes half a second, or many on a slow disk, such as this one."""
    (tmp_path / "kafka.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    script = subprocess.Popen(
        [sys.executable, PROJECT / "producer_web.py"], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert script.stdout
    assert script.stdout.readline() == "importing\n"
    script.send_signal(number)
    assert script.communicate(timeout=5) == ("", "")
    assert script.returncode == 0


@pytest.mark.parametrize("script", ["producer_web.py", "workshops/uppercase/part1_produce.py"])
def test_a_missing_package_is_one_line(bare_python: Path, tmp_path: Path, script: str) -> None:
    nothing = run(bare_python, Path(script))
    assert nothing.returncode == 1
    assert "not installed: kafka, msgspec." in nothing.stderr
    assert "pip install -r requirements.txt" in nothing.stderr
    assert nothing.stderr.count("\n") == 1

    # After `pip install kafka-python`, as the workshop says
    spec = find_spec("kafka")
    assert spec
    assert spec.origin
    (tmp_path / "kafka").symlink_to(Path(spec.origin).parent)
    alone = run(bare_python, Path(script), tmp_path)
    assert alone.returncode == 1
    assert alone.stderr.startswith(f"{Path(script).name}: not installed: msgspec.")
    assert alone.stderr.count("\n") == 1
