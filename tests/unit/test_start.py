"""What a script does before it has imported anything: Ctrl-C ends it, a missing package is one line."""

import ast
import os
import signal
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from pipeline.local import PROJECT

SCRIPTS = sorted(
    path.relative_to(PROJECT)
    for folder in (PROJECT, PROJECT / "workshops")
    for path in folder.glob("*.py" if folder == PROJECT else "**/*.py")
    if "run_kafka_script(main)" in path.read_text()
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


def test_after_pip_install_kafka_python_alone_one_package_is_missing(tmp_path: Path) -> None:
    """As the workshop's text says."""
    package = Path(distribution("kafka-python").locate_file(""))  # type: ignore[arg-type]
    for found in (package / "kafka", *package.glob("kafka_python-*")):
        (tmp_path / found.name).symlink_to(found)
    path = os.pathsep.join((str(PROJECT), str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-S", PROJECT / "producer_web.py"], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("producer_web.py: not installed: msgspec. ")
    assert done.stderr.count("\n") == 1
