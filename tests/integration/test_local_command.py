"""python -m pipeline.local in a folder with Korean letters, a space and a comma, in a locale without them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics
from pipeline.local import PROJECT
from pipeline.local.jars import KAFKA, class_path
from tests.conftest import free_port
from tests.integration.pipelines import wait_until

CTRL_C_SECONDS = 5.0


class Clone:
    """A copy of the project; its Kafka, and the jars of its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "바탕화면" / "카프카, 실습 #1"
        shutil.copytree(PROJECT / "pipeline", self.folder / "pipeline")
        self.port = str(free_port())
        self.node = self.folder / ".kafka" / f"cluster-of-1-at-{self.port}" / "node-1"
        cache = folder / "홍길동" / ".cache"
        jars = Path(class_path(KAFKA)).parent
        shutil.copytree(jars, cache / "kafka-workshop" / jars.name, copy_function=os.symlink)
        self._environment = {**os.environ, "LC_ALL": "C", "XDG_CACHE_HOME": str(cache)}

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.local", *arguments], cwd=self.folder, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        done = self.begin(*arguments)
        out, errors = done.communicate(timeout=120)
        assert done.returncode == 0, errors
        return out

    @property
    def brokers(self) -> list[psutil.Process]:
        """Its brokers, whatever the pid file says."""
        properties = str(self.node / "server.properties")
        running = psutil.process_iter(["cmdline"])
        return [each for each in running if {"kafka.Kafka", properties} <= set(each.info["cmdline"] or [])]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    made = Clone(tmp_path_factory.mktemp("clone"))
    yield made
    for broker in made.brokers:
        broker.kill()


def test_it_is_interrupted_while_it_starts_and_nothing_is_left_running(clone: Clone) -> None:
    starting = clone.begin("start", "--port", clone.port)
    wait_until(lambda: (clone.node / "pid").exists(), "the broker's process", 60)
    starting.send_signal(signal.SIGINT)
    _, errors = starting.communicate(timeout=CTRL_C_SECONDS)
    assert starting.returncode == 130
    assert f"Interrupted: Apache {KAFKA} at localhost:{clone.port} is not running." in errors
    assert clone.brokers == []


def test_two_starts_at_once_are_one_kafka_and_its_data_is_in_its_folder(clone: Clone) -> None:
    both = [clone.begin("start", "--port", clone.port) for _ in range(2)]
    printed = [each.communicate(timeout=120) for each in both]
    where = f"Apache {KAFKA} at localhost:{clone.port}"
    assert {out for out, _ in printed} == {f"{where} started.\n", f"{where} was running already.\n"}, printed
    assert len(clone.brokers) == 1
    assert "Waiting for another process that starts this Kafka" in printed[0][1] + printed[1][1]

    ensure_topics(Cluster(f"localhost:{clone.port}"), "kept")
    assert clone.run("stop", "--port", clone.port) == f"{where} stopped.\n"
    assert (clone.node / "data" / "kept-0").is_dir()
    assert clone.brokers == []
    clone.run("start", "--port", clone.port)
    tool = ("exec", "kafka-topics", "--bootstrap-server", f"localhost:{clone.port}", "--list")
    assert clone.run(*tool) == "kept\n"


def test_another_clone_says_whose_kafka_it_is(clone: Clone) -> None:
    clone.run("start", "--port", clone.port)
    for command in ("status", "stop"):
        shown = subprocess.run(
            [sys.executable, "-m", "pipeline.local", command, "--port", clone.port],
            cwd=PROJECT, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert shown.returncode == 1
        said = shown.stdout + shown.stderr
        assert f"It is a Kafka of {clone.folder} (process {clone.brokers[0].pid}, user " in said
        assert f"python -m pipeline.local stop --brokers 1 --port {clone.port}" in said
        assert "Traceback" not in said
    assert len(clone.brokers) == 1


def test_a_start_that_fails_names_what_to_delete(clone: Clone) -> None:
    clone.run("stop", "--port", clone.port)
    shutil.rmtree(clone.node / "data")
    (clone.node / "data").write_text("in the way")
    failed = clone.begin("start", "--port", clone.port)
    _, errors = failed.communicate(timeout=60)
    assert failed.returncode == 1
    assert "Kafka's storage could not be prepared: " in errors
    assert (
        f"delete {clone.node.parent} and start again: all topics of this Kafka and their records are lost"
        in errors
    )
    assert "\tat " not in errors
