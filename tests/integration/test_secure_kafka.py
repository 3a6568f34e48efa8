"""python -m pipeline.local start --secure: who gets in, who does not, and where passwords are."""

import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from pipeline.cli.process import PipelineError
from pipeline.client.admin import admin_client, ensure_topics
from pipeline.local import HOST, PROJECT
from pipeline.local.certificates import issue, new_authority, read_authority
from pipeline.local.kafka import CONTROLLER_PORT_DISTANCE, INTERNAL_PORT_DISTANCE, LocalKafka
from pipeline.local.rights import ADMIN, USERS
from pipeline.local.secure import SecureKafka
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, DLQ_REPLAYS, PURCHASE_EVENTS, WEB_EVENTS
from tests.conftest import free_port
from tests.integration.pipelines import wait_until

ANSWER_SECONDS = 10.0
SEES = {
    "admin": {WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ, DLQ_REPLAYS},
    "producer-web": {WEB_EVENTS},
    "producer-purchase": {PURCHASE_EVENTS},
    "stream-processor": {WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ},
    "consumer-analytics": {ANALYTICS_EVENTS},
    "dlq": {WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_DLQ, DLQ_REPLAYS},
}


def librdkafka(kafka: SecureKafka, user: str, **changes: str | None) -> dict[str, Any]:
    """Return a user's settings in the names of another client; `_` in a changed name stands for a dot."""
    security = kafka.files.cluster(user).security
    settings = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": security.protocol,
        "sasl.mechanism": security.mechanism,
        "sasl.username": security.user,
        "sasl.password": security.password,
        "ssl.ca.location": security.ca_file,
        **{name.replace("_", "."): value for name, value in changes.items()},
    }
    return {name: value for name, value in settings.items() if value is not None}


def begin_tool(kafka: SecureKafka, tool: str, user: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.local", "exec", tool, "--bootstrap-server", kafka.bootstrap_servers,
         "--command-config", str(kafka.files.client(user)), *arguments],
        cwd=PROJECT, env={**os.environ, "LC_ALL": "C"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8",
    )  # fmt: skip


@contextmanager
def process_list() -> Iterator[set[str]]:
    """Collect the command lines of all processes that run meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def collect() -> None:
        while not over.wait(0.05):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    seen.add("\0".join(process.cmdline()))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """One that is not shared, in a folder whose name Java reads only if it is written for Java."""
    folder = tmp_path_factory.mktemp("secure") / "바탕화면" / "카프카, 실습 #1"
    made = SecureKafka(port=free_port(), home=folder / ".kafka")
    yield made
    made.stop()


def test_it_survives_a_stop_with_its_records_and_its_passwords_which_nobody_sees(
    own_kafka: SecureKafka,
) -> None:
    with process_list() as seen:
        assert own_kafka.start()
        listing = begin_tool(own_kafka, "kafka-topics", ADMIN, "--list")
        printed, errors = listing.communicate(timeout=60)
    assert set(printed.splitlines()) >= SEES[ADMIN], errors
    assert any("kafka.Kafka" in line for line in seen)
    assert any("TopicCommand" in line for line in seen)
    passwords = own_kafka.files.passwords()
    log = own_kafka.nodes[0].log
    for password in passwords.values():
        assert not [line for line in seen if password in line]
        assert password not in log.read_text("utf-8")

    producer = Producer(librdkafka(own_kafka, "producer-web"))
    producer.produce(WEB_EVENTS, b"kept")
    assert producer.flush(ANSWER_SECONDS) == 0
    assert own_kafka.stop()
    again = SecureKafka(port=own_kafka.nodes[0].port, home=own_kafka.folder.parent)
    assert again.start()
    assert not again.start()
    assert again.files.passwords() == passwords
    consumer = Consumer(
        librdkafka(own_kafka, "stream-processor")
        | {"group.id": "stream-processor", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([WEB_EVENTS])
    record = wait_until(lambda: consumer.poll(0.1), "the record")
    assert (record.error(), record.value()) == (None, b"kept")
    consumer.close()


def test_a_password_that_was_deleted_is_replaced_while_the_cluster_runs(own_kafka: SecureKafka) -> None:
    own_kafka.start()
    old = librdkafka(own_kafka, "consumer-analytics")
    own_kafka.files.client("consumer-analytics").unlink()
    assert not own_kafka.start()
    new = librdkafka(own_kafka, "consumer-analytics")
    assert new["sasl.password"] != old["sasl.password"]
    wait_until(lambda: ANALYTICS_EVENTS in topics_seen(new), "the new password")
    expect_refusal(old, KafkaError._AUTHENTICATION)


@pytest.mark.parametrize("other", [LocalKafka, SecureKafka])
def test_secured_and_plain_share_no_port(own_kafka: SecureKafka, other: type[LocalKafka]) -> None:
    own_kafka.start()
    home = own_kafka.folder.parent / ("elsewhere" if other is SecureKafka else "")
    port = own_kafka.nodes[0].port
    with pytest.raises(
        PipelineError, match=rf"^Port {port} is held by .* stop --secure --brokers 1 --port"
    ) as why:
        other(port=port, home=home).start()
    assert ("start --secure --port" in str(why.value)) == (other is SecureKafka)


def topics_seen(settings: dict[str, Any]) -> set[str]:
    """Return the topics that a client may see; none while it is refused."""
    try:
        return set(AdminClient({**settings, "log_level": 0}).list_topics(timeout=1).topics)
    except KafkaException:
        return set()


def expect_refusal(settings: dict[str, Any], error: int) -> None:
    """Wait until a client reports this error; where brokers hang up, they are "all down" to it."""
    errors: list[int] = []
    client = AdminClient(
        {**settings, "error_cb": lambda reported: errors.append(reported.code()), "log_level": 0},
    )

    def is_reported() -> bool:
        client.poll(0.1)
        return error in errors

    wait_until(is_reported, f"error {error}")
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"security_protocol": "PLAINTEXT"}, KafkaError._ALL_BROKERS_DOWN),
        ({"security_protocol": "SASL_PLAINTEXT"}, KafkaError._ALL_BROKERS_DOWN),
        ({"security_protocol": "SSL"}, KafkaError._ALL_BROKERS_DOWN),
        ({"sasl_password": "wrong"}, KafkaError._AUTHENTICATION),
        ({"sasl_username": "nobody"}, KafkaError._AUTHENTICATION),
        ({"sasl_mechanism": "PLAIN"}, KafkaError._AUTHENTICATION),
        ({"ssl_ca_location": None}, KafkaError._SSL),
    ],
    ids=lambda value: "-".join(map(str, *value.items())) if isinstance(value, dict) else "",
)
def test_a_client_is_refused(secure_kafka: SecureKafka, changes: dict[str, str | None], error: int) -> None:
    expect_refusal(librdkafka(secure_kafka, ADMIN, **changes), error)


def test_a_user_may_not_do_what_is_not_its_own(secure_kafka: SecureKafka) -> None:
    failed: list[KafkaError | None] = []
    producer = Producer(librdkafka(secure_kafka, "producer-web"))
    for topic in (WEB_EVENTS, PURCHASE_EVENTS, "a-new-topic"):
        producer.produce(topic, b"x", on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(ANSWER_SECONDS) == 0
    assert [error and error.code() for error in failed].count(None) == 1
    refused = {error.code() for error in failed if error}
    assert refused == {KafkaError.TOPIC_AUTHORIZATION_FAILED}


def test_each_client_file_is_for_the_console_tools_and_for_its_owner_alone(secure_kafka: SecureKafka) -> None:
    assert SEES.keys() == set(USERS)
    listings = {user: begin_tool(secure_kafka, "kafka-topics", user, "--list") for user in USERS}
    for user, listing in listings.items():
        printed, errors = listing.communicate(timeout=120)
        # Other tests, with a prefix, use the same cluster
        seen = {line for line in printed.splitlines() if not line.startswith(("__", "mine-", "test-"))}
        assert seen == SEES[user], errors
        assert stat.S_IMODE(secure_kafka.files.client(user).stat().st_mode) == 0o600
    acls = begin_tool(secure_kafka, "kafka-acls", ADMIN, "--list", "--principal", "User:producer-web")
    printed, errors = acls.communicate(timeout=60)
    assert f"name={WEB_EVENTS}, patternType=LITERAL" in printed, errors
    assert PURCHASE_EVENTS not in printed


def run_script(*command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8",
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scripts_have_the_rights_they_need_and_a_prefix_adds_its_own(secure_kafka: SecureKafka) -> None:
    environment = {**os.environ, "TOPIC_PREFIX": "mine-", "PYTHONUNBUFFERED": "1"}
    port, home = secure_kafka.nodes[0].port, secure_kafka.folder.parent
    code = (
        "import sys, pathlib; from pipeline.local.secure import SecureKafka; "
        "SecureKafka(port=int(sys.argv[1]), home=pathlib.Path(sys.argv[2])).start()"
    )
    run_script("-c", code, str(port), str(home), environment=environment)

    def script(name: str, user: str, *options: str) -> str:
        config = str(secure_kafka.files.client(user))
        return run_script(name, "--config", config, *options, environment=environment)

    for source in ("web", "purchase"):
        many = ("--count", "20", "--rate", "0", "--broken", "0.5", "--seed", "1")
        script(f"producer_{source}.py", f"producer-{source}", *many)
    config = str(secure_kafka.files.client("stream-processor"))
    processor = subprocess.Popen(
        [sys.executable, "stream_processor.py", "--config", config],
        cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        clean = script("consumer_analytics.py", "consumer-analytics", "--max-messages", "10")
        letters = wait_until(lambda: script("dlq.py", "dlq", "list"), "dead letters")
        replayed = script("dlq.py", "dlq", "replay", "--limit", "3")
    finally:
        processor.terminate()
        _, errors = processor.communicate()
    assert clean.count("\n") == 10
    assert "mine-" in letters
    assert replayed.count("attempt 2") == 3
    assert b"does not allow" not in errors


def connect(kafka: SecureKafka, distance: int, certificate: Path | None) -> bytes:
    """Connect to a listener with mutual TLS, and send it garbage; return its answer: it closes."""
    context = ssl.create_default_context(cafile=str(kafka.files.ca))
    if certificate:
        context.load_cert_chain(certificate)
    plain = socket.create_connection((HOST, kafka.nodes[0].port + distance), timeout=ANSWER_SECONDS)
    with context.wrap_socket(plain, server_hostname=HOST) as connection:
        connection.sendall(b"\xff" * 4)
        return connection.recv(1)


@pytest.mark.parametrize("distance", [INTERNAL_PORT_DISTANCE, CONTROLLER_PORT_DISTANCE])
def test_between_brokers_a_certificate_of_the_authority_is_needed(
    secure_kafka: SecureKafka, distance: int, tmp_path: Path
) -> None:
    assert connect(secure_kafka, distance, secure_kafka.files.broker) == b""
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(secure_kafka, distance, None)
    foreign = tmp_path / "foreign.pem"
    foreign.write_text(issue(new_authority(f"Authority of {secure_kafka.folder.name}"), "broker"))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(secure_kafka, distance, foreign)


def test_a_certificate_that_is_not_the_brokers_has_no_rights(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    authority = read_authority((secure_kafka.folder / "authority.pem").read_text())
    own = tmp_path / "kim.pem"
    own.write_text(issue(authority, "kim"))
    settings = {
        "bootstrap.servers": f"{HOST}:{secure_kafka.nodes[0].port + INTERNAL_PORT_DISTANCE}",
        "security.protocol": "SSL",
        "ssl.ca.location": str(secure_kafka.files.ca),
        "ssl.key.location": str(own),
        "ssl.certificate.location": str(own),
    }
    assert AdminClient(settings).list_topics(timeout=ANSWER_SECONDS).topics == {}
    broker = str(secure_kafka.files.broker)
    brokers = settings | {"ssl.key.location": broker, "ssl.certificate.location": broker}
    assert WEB_EVENTS in AdminClient(brokers).list_topics(timeout=ANSWER_SECONDS).topics


@pytest.mark.thorough
def test_three_brokers_replicate_and_know_the_users(tmp_path: Path) -> None:
    kafka = SecureKafka(3, free_port(brokers=3), tmp_path)
    try:
        kafka.start()
        inside = kafka.reached_at(kafka.nodes[2])
        ensure_topics(inside, "replicated")
        with admin_client(inside) as admin:
            wait_until(
                lambda: all(
                    len(partition["isr_nodes"]) == 3
                    for topic in admin.describe_topics([WEB_EVENTS, "replicated"])
                    for partition in topic["partitions"]
                ),
                "all replicas are in sync",
            )
        kafka.nodes[0].service.running.kill()  # type: ignore[union-attr]
        producer = Producer(librdkafka(kafka, "producer-web") | {"acks": "all"})
        for partition in range(3):
            producer.produce(WEB_EVENTS, b"x", partition=partition)
        assert producer.flush(60) == 0
    finally:
        kafka.stop()
