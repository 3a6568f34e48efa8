"""Exactly once behind TLS and passwords, too: brokers and processors are killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local.secure import SecureKafka
from tests.conftest import free_port
from tests.faults.conftest import Scale
from tests.faults.flow import Flow, kill_broker, running
from tests.integration.pipelines import wait_until


@pytest.fixture
def three_secured_brokers(tmp_path: Path) -> Iterator[SecureKafka]:
    with running(SecureKafka(brokers=3, port=free_port(brokers=3), home=tmp_path)) as cluster:
        yield cluster


@pytest.mark.thorough
def test_brokers_and_processors_are_killed(three_secured_brokers: SecureKafka, scale: Scale) -> None:
    kafka = three_secured_brokers
    with Flow(kafka.files.cluster("admin")) as flow:
        killed, survivor = flow.start_processor(), flow.start_processor()
        with flow.producers(scale.events, seconds=scale.rounds(20, 60)):
            for number in range(1, scale.rounds(1, 6) + 1):
                flow.wait_until_seen(flow.reader.seen + scale.events // 20)
                kill_broker(kafka, which=number % 3 + 1)
                killed.process.kill()
                flow.wait_until_seen(flow.reader.seen + scale.events // 20)
                killed = flow.start_processor()
                kafka.start()
        flow.check()
        assert killed.stop() == survivor.stop() == 0, killed.stderr + survivor.stderr
    assert wait_until(lambda: len(kafka.running) == 3, "all brokers run")
