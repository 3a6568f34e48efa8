"""--config: properties files as Java and librdkafka have them, and what is wrong in them."""

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import status
from pipeline.cli.cluster import Cluster, ConfigError, Security, read_cluster
from pipeline.cli.options import CONFIG_VARIABLE, DEFAULT_SERVERS, SERVERS_VARIABLE, option_parser
from pipeline.cli.properties import escape, parse_properties

LOGIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "kim"}
JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required"


def config(folder: Path, properties: Mapping[str, str], mode: int = 0o600) -> str:
    file = folder / "client.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), "utf-8")
    file.chmod(mode)
    return str(file)


def read(folder: Path, properties: Mapping[str, str], servers: str | None = None) -> Cluster:
    return read_cluster(config(folder, properties), servers, DEFAULT_SERVERS)


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("a=1\nb = 2\nc:3\nd 4\n", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("# comment\n  ! comment\n\n   a=1", {"a": "1"}),
        ("a=one \\\n   two \\\r\n  three\nb=2", {"a": "one two three", "b": "2"}),
        ("a=C:\\\\x\\ty\nb=back\\\\", {"a": "C:\\x\ty", "b": "back\\"}),
        ("a=\\ud55c\\uae00 한글", {"a": "한글 한글"}),
        ("password=a=b:c#d!\n", {"password": "a=b:c#d!"}),
        ("a=1\na=2", {"a": "2"}),
        ("a\n=b", {"a": "", "": "b"}),
        ("a=1 \t", {"a": "1"}),
        ("a=1\\", {"a": "1"}),
    ],
)
def test_the_format_of_java(text: str, properties: dict[str, str]) -> None:
    assert parse_properties(text) == properties


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"])))
def test_what_is_escaped_is_read_back(value: str) -> None:
    escaped = escape(value)
    assert escaped.isascii(), "Java reads Latin-1"
    assert parse_properties(f"name={escaped}") == {"name": value}


def test_all_names(tmp_path: Path) -> None:
    same = [
        LOGIN | {"sasl.password": "secret=1"},
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanisms": "PLAIN",
            "sasl.username": "kim",
            "sasl.password": "secret=1",
        },
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": f"{JAAS} \\\n  username=\"kim\" \\\n password='secret=1';",
        },
    ]
    assert {read(tmp_path, properties).security for properties in same} == {
        Security("SASL_SSL", "PLAIN", "kim", "secret=1")
    }


def test_a_password_in_jaas_may_hold_anything(tmp_path: Path) -> None:
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f'{JAAS} username="kim" password="a\\\\"b; c=\'d";',
    }
    assert read(tmp_path, properties).security.password == "a\"b; c='d"


def test_oauth(tmp_path: Path) -> None:
    security = read(
        tmp_path,
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.login.callback.handler.class": "org.apache.kafka...OAuthBearerLoginCallbackHandler",
            "sasl.oauthbearer.token.endpoint.url": "https://login.example.com/token",
            "sasl.jaas.config": "Module required clientId='id' clientSecret='x1' scope='kafka';",
        },
    ).security
    assert (security.user, security.password, security.scope) == ("id", "x1", "kafka")


def test_a_file_of_confluent_cloud(tmp_path: Path) -> None:
    cluster = read(
        tmp_path,
        LOGIN
        | {
            "bootstrap.servers": "pkc-1.confluent.cloud:9092",
            "sasl.password": "cflt-1",
            "session.timeout.ms": "45000",
            "client.dns.lookup": "use_all_dns_ips",
            "acks": "all",
            "client.id": "ccloud-python-client",
        },
    )
    assert cluster.servers == "pkc-1.confluent.cloud:9092"
    assert cluster.client_id == "ccloud-python-client"


WRONG = {
    "unknown name": ({"sasl.pasword": "x"}, "property 'sasl.pasword' is not known"),
    "protocol": ({"security.protocol": "TLS"}, "security.protocol is not one of PLAINTEXT,"),
    "no protocol": ({"sasl.username": "kim"}, "sasl.username has no effect with security.protocol=PLAINTEXT"),
    "TLS without it": (
        {"security.protocol": "SASL_PLAINTEXT", "ssl.ca.location": "/ca.pem"},
        "ssl.ca.location has no effect with security.protocol=SASL_PLAINTEXT; set that to SASL_SSL or SSL",
    ),
    "mechanism": (LOGIN | {"sasl.mechanism": "GSSAPI"}, "sasl.mechanism is not one of PLAIN, SCRAM"),
    "no mechanism": ({"security.protocol": "SASL_SSL"}, "sasl.mechanism is missing; it can be PLAIN, SCRAM"),
    "no password": (LOGIN, "sasl.password (or password in sasl.jaas.config) is missing; PLAIN needs it"),
    "placeholder": (
        LOGIN | {"sasl.password": "<API-SECRET>"},
        "sasl.password (or password in sasl.jaas.config) is only a placeholder",
    ),
    "placeholder of the cloud": (LOGIN | {"sasl.password": "{{ KEY }}"}, "is only a placeholder"),
    "token endpoint": (
        LOGIN | {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.client.id": "a",
                 "sasl.oauthbearer.client.secret": "b", "sasl.username": "",
                 "sasl.oauthbearer.token.endpoint.url": "http://login.example.com"},
        "sasl.oauthbearer.token.endpoint.url must be an address that starts with https://",
    ),
    "JKS": (
        {"security.protocol": "SSL", "ssl.truststore.location": "/etc/trust.jks",
         "ssl.truststore.password": "changeit"},
        "ssl.truststore: only PEM files can be read; convert it with `keytool",
    ),
    "PKCS12": (
        {"security.protocol": "SSL", "ssl.keystore.type": "PKCS12", "ssl.keystore.location": "/etc/key"},
        "ssl.keystore: only PEM files",
    ),
    "no authority file": (
        {"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem"},
        "ssl.ca.location: /nowhere.pem: No such file or directory",
    ),
    "authority": (
        {"security.protocol": "SSL", "ssl.ca.location": __file__},
        "has no certificate in PEM form",
    ),
    "certificate": (
        {"security.protocol": "SSL", "ssl.certificate.location": __file__, "ssl.key.location": __file__},
        "are no certificate and key that belong together, or ssl.key.password is wrong",
    ),
    "no key": (
        {"security.protocol": "SSL", "ssl.certificate.location": "/dev/null"},
        "ssl.key.location is missing, and /dev/null holds no key",
    ),
    "a password on a line of its own": ({"very-secret": ""}, "a line has no value, and no name that is"),
    "check": (
        {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "yes"},
        "ssl.endpoint.identification.algorithm is not one of https, none",
    ),
    "codec": ({"compression.type": "brotli"}, "compression.type is not one of none, gzip"),
}  # fmt: skip


@pytest.mark.parametrize(("properties", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, properties: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, properties)
    assert message in str(raised.value)
    assert "very-secret" not in str(raised.value)


def test_a_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        option_parser("Text.", "").parse_args(["--config", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith(f"error: {tmp_path}/none: No such file or directory")
    )


def test_servers_of_option_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, {"bootstrap.servers": "of-file:1"})
    without = config(tmp_path / "..", {})
    monkeypatch.setenv(SERVERS_VARIABLE, "of-environment:1")

    def servers(*words: str) -> str:
        cluster: Cluster = option_parser("Text.", "").parse_args(words).cluster
        return cluster.servers

    assert servers("--config", file, "--bootstrap-servers", "of-option:1") == "of-option:1"
    assert servers("--config", file) == "of-file:1"
    assert servers("--config", without) == servers() == "of-environment:1"
    monkeypatch.setenv(CONFIG_VARIABLE, file)
    assert servers() == "of-file:1"
    monkeypatch.delenv(CONFIG_VARIABLE)
    monkeypatch.delenv(SERVERS_VARIABLE)
    assert servers() == DEFAULT_SERVERS


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604])
def test_a_password_that_others_may_read(tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    file = config(tmp_path, LOGIN | {"sasl.password": "open-sesame"}, mode)
    assert stat.S_IMODE(os.stat(file).st_mode) == mode
    read_cluster(file, None, DEFAULT_SERVERS)
    warning = f"{file} holds a password, and anybody may read it: chmod o= {file}"
    assert [record.message for record in caplog.records] == ([warning] if mode == 0o604 else [])


def test_a_password_is_in_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_secrets", set())  # those of other tests are short
    secret = "geheim-é한\"'"
    cluster = read(tmp_path, LOGIN | {"sasl.password": secret})
    assert secret not in repr(cluster)
    record = logging.LogRecord("kafka", logging.DEBUG, "", 0, "%s %s", (secret, secret.encode()), None)
    line = status._StatusHandler().format(record)
    assert line.replace("b'", "").replace('b"', "").strip("'\"") == "[hidden] [hidden]"


def test_a_changed_password_is_read_again(tmp_path: Path) -> None:
    cluster = read(tmp_path, LOGIN | {"sasl.password": "old-one"})
    config(tmp_path, LOGIN | {"sasl.password": "new-one"})
    assert cluster.security_now().password == "new-one"
    (tmp_path / "client.properties").write_text("security.protocol=SASL_")  # just being written
    assert cluster.security_now().password == "old-one"
