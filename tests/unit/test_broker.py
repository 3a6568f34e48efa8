"""Which Kafka, where Docker is: a stand-in for the command `docker` says what the real one said."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.cli.process import PipelineError
from pipeline.local import PROJECT, broker

COMPOSE = ["docker", "compose"]
CONFLICT = """ Volume "kafka-workshop_kafka-data"  Created
 Container kafka  Creating
Error response from daemon: Conflict. The container name "/kafka" is already in use by container "3bcda". \
You have to remove (or rename) that container to be able to reuse that name.
"""
# Of docker-compose 1.29, whose last line has no reason
PORT_TAKEN = """Creating kafka ...

ERROR: for kafka  Cannot start service kafka: Bind for 127.0.0.1:9092 failed: port is already allocated
Encountered errors while bringing up the project.
"""
DOCKER = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  "compose up -d")
    # The real one creates the container a moment after it looked for it
    if [ ! -e started ]; then
      mkdir creating 2>/dev/null || { cat said >&2; exit 1; }
      sleep 0.3; touch started
    fi
    if [ -e fails ]; then cat said >&2; exit 1; fi ;;
  "inspect "*) cat inspected ;;
  "ps "*) cat running ;;
  "info "*) echo 28 ;;
  "compose version") ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stand-in for docker, with files that say how it behaves."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    for name in ("said", "inspected", "running"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(broker, "any_open", lambda _: False)
    return tmp_path


def failure(docker: Path, said: str) -> str:
    """Return the one line about a `docker compose up -d` that fails with this on stderr."""
    (docker / "fails").touch()
    (docker / "said").write_text(said)
    with pytest.raises(PipelineError) as failed:
        broker.start_container(COMPOSE)
    return str(failed.value)


def test_one_of_several_starts_the_container_and_the_others_wait(docker: Path) -> None:
    """Such as the workers of ./test.sh, or two ./run.sh."""
    (docker / "said").write_text(CONFLICT)
    with ThreadPoolExecutor() as threads:
        for started in [threads.submit(broker.start_container, COMPOSE) for _ in range(4)]:
            started.result()


def test_the_container_of_another_folder_is_named(docker: Path) -> None:
    (docker / "inspected").write_text("exited|/home/kim/카프카 실습\n")
    message = failure(docker, CONFLICT)
    assert "docker compose in /home/kim/카프카 실습" in message
    assert "`docker start kafka`" in message
    assert "`docker rm kafka`" in message


def test_a_container_that_no_compose_file_made(docker: Path) -> None:
    (docker / "inspected").write_text("running|\n")
    message = failure(docker, CONFLICT)
    assert "not made by docker compose" in message
    assert "`docker rm --force kafka`" in message
    assert "docker start" not in message


def test_the_container_of_another_folder_that_just_starts_is_waited_for(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docker / "running").write_text("kafka\n")
    (docker / "fails").touch()
    (docker / "said").write_text(CONFLICT)
    monkeypatch.setattr(broker, "any_open", lambda _: True)
    monkeypatch.setattr(broker, "answers", lambda _, seconds: False)
    monkeypatch.delenv("BROKER", raising=False)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert broker.choose() == "docker"
    broker.start_container(COMPOSE)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (PORT_TAKEN, "Bind for 127.0.0.1:9092 failed: port is already allocated."),
        ("project name must not be empty\n", "failed: project name must not be empty."),
        ("", "no reason given."),
    ],
)
def test_another_reason_is_reported(docker: Path, said: str, reason: str) -> None:
    message = failure(docker, said)
    assert f"{reason} Without Docker: BROKER=local" in message


@pytest.mark.parametrize(
    ("folder", "command"), [(str(PROJECT), "docker compose down"), ("/elsewhere", "docker stop kafka")]
)
def test_the_command_that_stops_the_container_found_running(docker: Path, folder: str, command: str) -> None:
    (docker / "running").write_text("kafka\n")
    (docker / "inspected").write_text(f"running|{folder}\n")
    assert broker.ready("found", broker.DEFAULT).stop == command


def test_docker_compose_works_in_a_folder_of_korean_letters(tmp_path: Path) -> None:
    """Of such a folder's name it makes no name of a project."""
    if not shutil.which("docker") or subprocess.run([*COMPOSE, "version"], capture_output=True).returncode:
        pytest.skip("there is no docker compose")
    folder = tmp_path / "카프카 실습"
    folder.mkdir()
    for name in ("docker-compose.yml", ".env"):
        shutil.copy(PROJECT / name, folder)
    checked = subprocess.run([*COMPOSE, "config", "--quiet"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
