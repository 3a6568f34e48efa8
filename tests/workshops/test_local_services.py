"""local_services.py in a folder with Korean letters and a space, in a locale without them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.process import PipelineError
from pipeline.local import PROJECT
from pipeline.local.jars import class_path
from pipeline.local.opensearch import HIGHEST_PORT, OPENSEARCH, LocalOpenSearch
from pipeline.local.postgres import ROOTS_HOME, LocalPostgres
from tests.workshops.conftest import free_port


class Clone:
    """A copy of the project, and its services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "바탕화면" / "카프카 실습"
        for part in ("pipeline", "workshops"):
            shutil.copytree(PROJECT / part, self.folder / part)
        cache = folder / "홍길동" / ".cache"
        jars = Path(class_path(OPENSEARCH)).parent
        shutil.copytree(jars, cache / "kafka-workshop" / jars.name, copy_function=os.symlink)
        self._environment = {**os.environ, "LC_ALL": "C", "XDG_CACHE_HOME": str(cache)}
        self.postgres_port = free_port(23_000, 23_999)
        self.opensearch_port = free_port(9210, HIGHEST_PORT)

    def begin(self, command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "workshops.musinsa.local_services", command,
             "--postgres-port", str(self.postgres_port), "--opensearch-port", str(self.opensearch_port)],
            cwd=self.folder, env=self._environment, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def status(self) -> tuple[int, list[str]]:
        """Return the exit code, and the state of each service."""
        asked = self.begin("status")
        out, errors = asked.communicate(timeout=60)
        assert errors == ""
        return asked.returncode, [
            line.partition(", log: ")[0].rpartition(": ")[2] for line in out.splitlines()
        ]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    made = Clone(tmp_path)
    yield made
    made.begin("stop").communicate(timeout=60)
    if os.geteuid() == 0:  # where the data of root's PostgreSQL is
        shutil.rmtree(ROOTS_HOME / f"postgres-at-{made.postgres_port}")


@pytest.mark.thorough
def test_two_starts_at_once_start_each_service_once_and_status_says_what_runs(clone: Clone) -> None:
    assert clone.status() == (1, ["not running", "not running"])

    both = [clone.begin("start") for _ in range(2)]
    printed = [each.communicate(timeout=200) for each in both]
    assert [each.returncode for each in both] == [0, 0], printed
    lines = sorted("".join(out for out, _ in printed).splitlines())
    assert [line.partition(": ")[0] for line in lines] == [
        "OpenSearch started", "OpenSearch was running already",
        "PostgreSQL started", "PostgreSQL was running already",
    ]  # fmt: skip
    assert clone.status() == (0, ["running", "running"])

    folder = clone.folder / ".kafka" / f"opensearch-at-{clone.opensearch_port}"
    LocalOpenSearch(clone.opensearch_port, folder.parent).stop()
    assert (folder / "node_1" / "data").is_dir()
    assert clone.status() == (1, ["running", "not running"])


def test_postgres_keeps_its_data_in_a_folder_with_korean_letters_deeper_than_a_unix_socket_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    with tempfile.TemporaryDirectory() as made:  # not pytest's: PostgreSQL may run as another user
        home = Path(made) / "바탕화면" / "카프카 실습" / ("가" * 40)
        Path(made).chmod(0o755)
        server = LocalPostgres(free_port(23_000, 23_999), home)
        # What initdb leaves that was interrupted is no data
        (server.log.parent / "initializing").mkdir(parents=True)
        (server.log.parent / "initializing" / "PG_VERSION").write_text("15\n")
        assert server.start()
        try:
            assert not server.start()
        finally:
            assert server.stop()


def test_opensearch_refuses_a_path_that_it_would_divide(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"it takes a path with a comma for two\. Rename the folder"):
        LocalOpenSearch(free_port(9210, HIGHEST_PORT), tmp_path / "카프카, 실습").start()
