"""`consumer | head`: the consumer ends without a traceback, and leaves its group at once."""

import json
import subprocess
import sys

import msgspec
import pytest
from kafka import KafkaAdminClient

from pipeline.cli.cluster import Cluster
from pipeline.client.admin import ensure_topics
from pipeline.local import PROJECT
from tests.integration.pipelines import Pipeline, Sent, module_of, wait_until
from tests.workshops.services import Postgres
from workshops.musinsa.test_producer import ONE_BY_ONE

STILL_A_MEMBER_SECONDS = 4.0  # the session of a member that did not leave ends after 6 s
RECORDS = 2000
ACTIVITY = json.dumps({"user_id": 1, "action": "login"}).encode()
PRODUCT = msgspec.json.encode({**ONE_BY_ONE[0], "published_at": "2026-11-22T00:00:00+00:00"})


@pytest.mark.parametrize(
    ("script", "topic", "group", "value"),
    [
        ("workshops/user_activity/consumer_example.py", "user_activity", "user_activity_group", ACTIVITY),
        ("workshops/bulk_gzip/consumer.py", "topic1", "test-group", ACTIVITY),
        (
            "workshops/musinsa/consumer_postgres.py",
            "musinsa-products",
            "musinsa-products-postgres",
            PRODUCT,
        ),
    ],
)
def test_the_group_is_left_at_once(
    pipeline: Pipeline, postgres: Postgres, script: str, topic: str, group: str, value: bytes
) -> None:
    topic, group = pipeline.prefix + topic, pipeline.prefix + group
    ensure_topics(Cluster(pipeline.kafka.servers), topic, partitions=1)
    pipeline.produce(topic, [Sent(value)] * RECORDS)
    process = subprocess.Popen(
        [sys.executable, "-m", module_of(script)], cwd=PROJECT,
        env={**pipeline.environment, **postgres.environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        assert process.stderr
        for _ in range(3):
            assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        with KafkaAdminClient(bootstrap_servers=pipeline.kafka.servers) as admin:
            wait_until(lambda: not members(admin, group), "left", STILL_A_MEMBER_SECONDS)
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def members(admin: KafkaAdminClient, group: str) -> object:
    return admin.describe_groups([group])[group]["members"]
