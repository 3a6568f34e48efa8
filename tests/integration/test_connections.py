"""What a script says that can't get in, and what happens to one that is in when its credentials change."""

import base64
import json
import signal
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from pipeline.cli.cluster import Cluster
from pipeline.local.broker import LOCAL_TOOL, Broker
from tests.conftest import free_port
from tests.integration.listeners import LISTENERS, MUTE, PASSWORD, USER, ListeningKafka
from tests.integration.pipelines import Pipeline, wait_until

SECONDS = 10.0
SCRAM = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": USER, "sasl_password": PASSWORD}
SECRET = "client-secret-2"
LIFE = timedelta(seconds=12)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningKafka]:
    ports = dict(zip(LISTENERS, sorted({free_port() for _ in range(len(LISTENERS) * 2)}), strict=False))
    kafka = ListeningKafka(tmp_path_factory.mktemp("listening"), ports)
    kafka.start()
    for user in (USER, MUTE):
        kafka.set_password(user, PASSWORD)
    yield kafka
    kafka.stop()


@pytest.fixture
def secured(listening: ListeningKafka) -> Iterator[Pipeline]:
    broker = Broker(Cluster(listening.bootstrap_servers), "for this test", f"{LOCAL_TOOL} exec ", stop=None)
    with Pipeline(broker) as pipeline:
        yield pipeline


def test_each_refusal_is_one_line_with_its_cause_and_the_next_step(
    listening: ListeningKafka, secured: Pipeline
) -> None:
    """All at once, because some of them wait for an answer that does not come."""
    another, stranger = listening.files / "another.pem", listening.files / "stranger.pem"
    wrong = SCRAM | {"sasl_password": "wrong-password"}
    speaks_tls = "speaks TLS). Set security.protocol"
    other_mechanism = SCRAM | {"sasl_mechanism": "PLAIN"}
    plain_login = SCRAM | {"security_protocol": "SASL_PLAINTEXT"}
    config = listening.config
    cases = {
        config("password", "LOGIN", **wrong): f"refuses user {USER} or its password (",
        config("open password", "SCRAM", **wrong): f"refuses user {USER} or its password (",
        config("mechanism", "SCRAM", **other_mechanism): "does not know sasl.mechanism=PLAIN",
        config("authority", "LOGIN", **SCRAM, ssl_ca_location=another): "by an unknown authority (",
        config("expired", "EXPIRED"): "has a certificate that has expired. Renew",
        config("host", "ELSEWHERE"): "for another host (Hostname mismatch",
        config("advertised host", "MISNAMED"): "for another host (IP address mismatch",
        config("no certificate", "MUTUAL"): "asks for this client's certificate. Set",
        config("strange", "MUTUAL", ssl_certificate_location=stranger): f"refuses the certificate {stranger}",
        config("plain to TLS", "MUTUAL", security_protocol="PLAINTEXT"): speaks_tls,
        config("login to TLS", "LOGIN", **plain_login): speaks_tls,
        config("TLS to plain", "PLAINTEXT", security_protocol="SSL"): "speaks no TLS, or is still",
        config("plain to login", "SCRAM", security_protocol="PLAINTEXT"): "asks for a password (SASL)",
        config("no login over TLS", "LOGIN", security_protocol="SSL"): "asks for a password (SASL)",
        config("login to plain", "PLAINTEXT", **plain_login): "takes no password on this port. Set",
        config("no rights", "LOGIN", **SCRAM | {"sasl_username": MUTE}): "does not allow Write on topic",
    }  # fmt: skip
    scripts = {file: secured.start("producer_web.py", "--count", "1", "--config", file) for file in cases}
    for file, said in cases.items():
        running = scripts[file]
        code = running.process.wait(SECONDS * 2)
        running.stop()
        [line] = running.stderr.splitlines()
        assert code == 1, file
        assert said in line
        assert PASSWORD not in line
        assert "wrong-password" not in line


def test_a_password_is_in_no_line_and_no_process_list(listening: ListeningKafka, secured: Pipeline) -> None:
    file = listening.config("debug", "LOGIN", **SCRAM)
    running = secured.start("producer_web.py", "--config", file, "--log-level", "debug")
    running.wait_for_lines(1)
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any(PASSWORD in " ".join(words or ()) for words in commands)
    assert running.stop() == 0
    assert "SaslAuthenticateRequest" in running.stderr
    assert PASSWORD not in running.stderr + running.stdout


class TokenEndpoint(ThreadingHTTPServer):
    """Returns tokens (RFC 6749, 4.4) that no key has signed: a broker takes them by default (KIP-255)."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _TokenAnswer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.asked = 0
        self.url = f"https://localhost:{self.server_port}/token"


class _TokenAnswer(BaseHTTPRequestHandler):
    server: TokenEndpoint

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked += 1
        if f"client_secret={SECRET}" in form:
            now = int(datetime.now(timezone.utc).timestamp())
            parts: list[object] = [{"alg": "none"}, {"sub": USER, "iat": now, "exp": now + 300}]
            encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
            answer = {
                "access_token": b".".join([*encoded, b""]).decode(), "token_type": "Bearer", "expires_in": 300
            }  # fmt: skip
        else:
            answer = {"error": "invalid_client", "error_description": "no such client"}
        self.send_response(200 if "access_token" in answer else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is for failures."""


@pytest.fixture
def endpoint(listening: ListeningKafka) -> Iterator[TokenEndpoint]:
    with TokenEndpoint(listening.files / "broker.pem") as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_tokens_of_an_endpoint(listening: ListeningKafka, secured: Pipeline, endpoint: TokenEndpoint) -> None:
    def run(name: str, url: str, secret: str) -> tuple[int, str]:
        file = listening.config(
            name, "LOGIN", sasl_mechanism="OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=url,
            sasl_oauthbearer_client_id="id", sasl_oauthbearer_client_secret=secret,
        )  # fmt: skip
        done = secured.run(
            "producer_web.py", "--count", "5", "--rate", "0", "--config", file, "--log-level", "debug",
            REQUESTS_CA_BUNDLE=str(listening.files / "ca.pem"),
        )  # fmt: skip
        assert secret not in done.stderr
        assert "eyJ" not in done.stderr, "a token"
        return done.returncode, done.stderr

    assert run("token", endpoint.url, SECRET)[0] == 0
    assert endpoint.asked == 1, "one token for all connections"
    code, said = run("wrong secret", endpoint.url, "another-secret-3")
    assert code == 1
    assert f"needs a token: {endpoint.url} refuses client id (no such client)" in said.splitlines()[-1]
    code, said = run("nobody there", f"https://localhost:{free_port()}/", SECRET)
    assert code == 1
    assert (
        "does not answer (ConnectionError). Check sasl.oauthbearer.token.endpoint.url"
        in said.splitlines()[-1]
    )


def test_of_several_bootstrap_servers_one_has_to_take_the_client(
    listening: ListeningKafka, secured: Pipeline
) -> None:
    servers = f"{listening.server('PLAINTEXT')},{listening.server('SCRAM')},{listening.server('LOGIN')}"
    file = listening.config("several", "LOGIN", **SCRAM, bootstrap_servers=servers)
    for _ in range(3):
        done = secured.run("producer_web.py", "--count", "1", "--config", file)
        assert done.returncode == 0, done.stderr


def test_scripts_that_are_refused_while_they_run_say_so_and_wait(
    listening: ListeningKafka, secured: Pipeline
) -> None:
    login = listening.config("changed", "LOGIN", **SCRAM)
    processor = secured.start("stream_processor.py", "--config", login)
    consumer = secured.start("consumer_analytics.py", "--config", login)
    producer = secured.start("producer_web.py", "--rate", "20", "--broken", "0", "--config", login)
    wait_until(lambda: consumer.stdout.count("\n") > 20, "events come through")
    listening.set_password(USER, "another-secret-5")
    try:
        listening.stop()
        listening.start()
        for script in (processor, consumer, producer):
            script.wait_for(f"refuses user {USER} or its password (SCRAM-SHA-512). Check both in {login}")
            assert script.process.poll() is None
        listening.config("changed", "LOGIN", **SCRAM | {"sasl_password": "another-secret-5"})
        before = consumer.stdout.count("\n")
        wait_until(lambda: consumer.stdout.count("\n") > before + 50, "events come through again")
    finally:
        listening.set_password(USER, PASSWORD)
    assert producer.stop() == processor.stop() == consumer.stop() == 0


def test_a_new_certificate_and_a_new_password_are_used_when_a_client_reconnects(
    listening: ListeningKafka, secured: Pipeline
) -> None:
    expires = datetime.now(timezone.utc) + LIFE
    certificate = listening.issue("client", valid_until=expires)
    mutual = listening.config("mutual", "MUTUAL", ssl_certificate_location=certificate)
    login = listening.config("login", "LOGIN", **SCRAM)
    processor = secured.start("stream_processor.py", "--config", mutual)
    producer = secured.start("producer_web.py", "--rate", "20", "--broken", "0", "--config", login)
    wait_until(lambda: secured.prefix and producer.stdout.count("\n") > 20, "events were sent")

    listening.issue("client")
    listening.set_password(USER, "another-secret-4")
    listening.config("login", "LOGIN", **SCRAM | {"sasl_password": "another-secret-4"})
    try:
        wait_until(lambda: datetime.now(timezone.utc) > expires, "the certificate has expired", 20)
        listening.stop()  # so that all have to connect again
        listening.start()
        before = producer.stdout.count("\n")
        wait_until(lambda: producer.stdout.count("\n") > before + 100, "events were sent again")
        assert producer.stop(signal.SIGINT) == 0, producer.stderr
        secured.wait_until_processed()
        assert processor.stop() == 0, processor.stderr
    finally:
        listening.set_password(USER, PASSWORD)
    sent = producer.stdout.count("sent ")
    assert len({record.value for record in secured.read(secured.analytics)}) == sent
    assert len(secured.read(secured.analytics)) == sent
