"""local/kafka.py: a real Kafka is started, found and stopped, or a line says why not."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.admin import ensure_topics
from pipeline.client.health import answers
from pipeline.local import PROJECT
from pipeline.local.jars import KAFKA, class_path
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, LocalKafka
from tests.conftest import free_port


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalKafka]:
    made = LocalKafka(port=free_port(), home=tmp_path)
    yield made
    made.stop()


def listening(cluster: LocalKafka) -> set[tuple[str, int]]:
    """Return the addresses on which the broker listens."""
    process = cluster.nodes[0].process
    assert process is not None
    return {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }


@pytest.mark.thorough
def test_start_finds_the_running_one_and_data_outlives_a_stop(cluster: LocalKafka) -> None:
    assert cluster.start()
    assert listening(cluster) == {
        ("127.0.0.1", cluster.nodes[0].port),
        ("127.0.0.1", cluster.nodes[0].port + CONTROLLER_PORT_DISTANCE),
    }
    ensure_topics(Cluster(cluster.bootstrap_servers), "kept")
    again = LocalKafka(port=cluster.nodes[0].port, home=cluster.folder.parent)
    assert not again.start()
    assert [node.number for node in again.running] == [1]

    assert again.stop()
    assert not again.stop()
    assert not answers(Cluster(cluster.bootstrap_servers), seconds=1)

    cluster.start()
    listed = subprocess.run(
        [sys.executable, "-m", "pipeline.local", "exec", "kafka-topics",
         "--bootstrap-server", cluster.bootstrap_servers, "--list"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.stdout.splitlines() == ["kept"]
    assert listed.stderr == ""


@pytest.mark.parametrize("distance", [0, CONTROLLER_PORT_DISTANCE])
def test_a_port_that_something_else_holds(cluster: LocalKafka, distance: int) -> None:
    port = cluster.nodes[0].port + distance
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PipelineError, match=f"^Port {port} is held by another program"),
    ):
        cluster.start()


def test_a_broker_that_ends_at_once_says_why(cluster: LocalKafka) -> None:
    data = cluster.nodes[0].folder / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=9\ncluster.id=x\n")
    with pytest.raises(PipelineError, match=r"Kafka ended while starting: .*9.*log: "):
        cluster.start()


def test_no_space_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.local.kafka.ROOM_BYTES", 10**18)
    monkeypatch.setattr("pipeline.local.jars.ROOM_BYTES", 10**18)
    with pytest.raises(PipelineError, match="No space for Kafka's data"):
        LocalKafka(port=free_port(), home=tmp_path).start()
    with pytest.raises(PipelineError, match="No space for Kafka in"):
        class_path(KAFKA, tmp_path)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PipelineError, match="can't keep its data"):
        LocalKafka(port=free_port(), home=tmp_path / "file").start()


def test_an_unknown_tool_is_bad_usage() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline.local", "exec", "kafka-nonsense"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 2
    assert "kafka-console-consumer" in shown.stderr


def test_the_jars_are_those_of_one_kafka() -> None:
    folder = Path(class_path(KAFKA)).parent
    versions = {jar.stem.rpartition("-")[2] for jar in folder.glob("kafka*-*.jar")}
    assert len(versions) == 1, "a jar of another version would break the broker only later"
