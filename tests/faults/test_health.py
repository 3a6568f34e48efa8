"""/healthz: a processor that hangs is unhealthy, one that waits for an unreachable Kafka is not."""

import time

import pytest

from pipeline.client.metrics import ASK_EVERY_SECONDS
from pipeline.client.watchdog import HANG_SECONDS
from tests.faults.flow import Flow
from tests.faults.proxy import Api, Proxy
from tests.integration.pipelines import wait_until
from tests.integration.scraping import Watched

EVENTS = 1000
STUCK_SECONDS = 2 * HANG_SECONDS


@pytest.mark.thorough
def test_a_processor_that_hangs_again_and_again_becomes_unhealthy(flow: Flow, proxy: Proxy) -> None:
    """The watchdog restarts it, which does not help here; the count and the port survive that."""
    watched = Watched(flow, "stream_processor.py", KAFKA_BOOTSTRAP_SERVERS=proxy.servers)
    flow.wait_until_joined(1)
    with proxy.cut(Api.END_TXN) as came:  # which the client retries for ever
        flow.fill(EVENTS)
        assert came.wait(20)
        hung_at = time.monotonic()
        wait_until(lambda: watched.lag() == EVENTS, "the lag grows while it stands still", 15)
        assert watched.health().status == 200
        watched.running.wait_for("restarting this process", HANG_SECONDS + 10)
        wait_until(watched.answers, "the new process has the port", 10)
        assert watched.sample("pipeline_watchdog_restarts_total") == 1
        health = wait_until(lambda: watched.health_is(503), "unhealthy", STUCK_SECONDS)
        # It may have been idle, the last progress before that, for as long as the lag is not asked
        assert time.monotonic() - hung_at > STUCK_SECONDS - ASK_EVERY_SECONDS - 1
        assert health.text.startswith("stuck: ")
        assert len(health.text.splitlines()) == 1
    wait_until(lambda: watched.health_is(200), "healthy again")
    flow.check()
    wait_until(lambda: watched.lag() == 0, "the lag is measured")
    assert watched.running.stop() == 0, watched.running.stderr


@pytest.mark.thorough
def test_a_processor_that_waits_for_kafka_stays_healthy(flow: Flow, proxy: Proxy) -> None:
    """Kubernetes must not kill all processors because of the broker."""
    watched = Watched(flow, "stream_processor.py", KAFKA_BOOTSTRAP_SERVERS=proxy.servers)
    flow.wait_until_joined(1)
    wait_until(lambda: watched.sample("pipeline_kafka_reachable") == 1, "the lag is measured")
    with proxy.down():
        flow.fill(EVENTS)
        wait_until(lambda: watched.sample("pipeline_kafka_reachable") == 0, "it notices the outage", 20)
        until = time.monotonic() + STUCK_SECONDS + 10
        wait_until(
            lambda: time.monotonic() > until or watched.health().status != 200,
            "it waits for longer than its limit",
        )
        health = watched.health()
        assert health.status == 200
        assert health.text.startswith("waiting: ")
        assert watched.sample("pipeline_seconds_since_progress") > STUCK_SECONDS
    flow.check()
    wait_until(lambda: watched.health().text.startswith("working: "), "it works again")
    assert watched.sample("pipeline_kafka_reachable") == 1
    assert watched.running.stop() == 0, watched.running.stderr
