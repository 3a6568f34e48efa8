"""Which Kafka to connect to, and with what credentials: --bootstrap-servers and --config.

The properties of a --config file have the names of Kafka's Java clients or of librdkafka (which kcat and
confluent-kafka use); https://kafka.apache.org/documentation/#consumerconfigs describes them.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.cli.properties import parse_properties
from pipeline.cli.status import hide, log

NO_TLS, TLS = ("PLAINTEXT", "SASL_PLAINTEXT"), ("SSL", "SASL_SSL")
WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER = "OAUTHBEARER"
MECHANISMS = (*WITH_PASSWORD, OAUTHBEARER)
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

# By the first name of each; the others mean the same
NAMES = {
    "bootstrap.servers": ("metadata.broker.list",),
    "client.id": (),
    "compression.type": ("compression.codec",),
    "security.protocol": (),
    "sasl.mechanism": ("sasl.mechanisms",),
    "sasl.username": (),
    "sasl.password": (),
    "sasl.jaas.config": (),
    "sasl.oauthbearer.token.endpoint.url": (),
    "sasl.oauthbearer.client.id": ("sasl.oauthbearer.client.credentials.client.id",),
    "sasl.oauthbearer.client.secret": ("sasl.oauthbearer.client.credentials.client.secret",),
    "sasl.oauthbearer.scope": (),
    "ssl.ca.location": ("ssl.truststore.location",),
    "ssl.truststore.type": (),
    "ssl.certificate.location": ("ssl.keystore.location",),
    "ssl.keystore.type": (),
    "ssl.key.location": (),
    "ssl.key.password": (),
    "ssl.endpoint.identification.algorithm": (),
}
# In files that Confluent Cloud, Aiven and the Java tools need; the scripts choose these themselves.
CHOSEN_HERE = (
    "acks",
    "client.dns.lookup",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sasl.login.callback.handler.class",
    "sasl.oauthbearer.method",
    "session.timeout.ms",
    "ssl.keystore.password",
    "ssl.truststore.password",
)
# Java's tools do not know these, and so can't use a file that has one
ONLY_LIBRDKAFKA = {
    "compression.codec",
    "metadata.broker.list",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
}
FIRST_NAMES = {other: first for first, others in NAMES.items() for other in (first, *others)}
JAAS_OPTION = re.compile(r"""(\w+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^\s;"']+))""")
PLACEHOLDER = re.compile(r"<.*>|\{\{.*\}\}|\*+|\.\.\.|")


class ConfigError(ValueError):
    """A client properties file can't be used; the message names the property, and never its value."""


@dataclass(frozen=True)
class Security:
    """How a client encrypts, and who it is.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: of SASL, one of MECHANISMS.
        user, password: of SASL; an OAuth client's id and secret where the mechanism is OAUTHBEARER.
        token_url: where such a client gets its token.
        scope: of the token.
        ca_file: PEM file with the certificate authorities to trust; by default those of the system.
        certificate_file: PEM file with this client's certificate, and the ones that signed it.
        key_file: PEM file with the key of the certificate; by default certificate_file.
        key_password: the password of that key.
        check_hostname: whether the broker's certificate must be for the host that was connected to.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    token_url: str = ""
    scope: str = ""
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: str = field(default="", repr=False)
    check_hostname: bool = True

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol in TLS

    def tls_context(self) -> ssl.SSLContext:
        """Return the settings of an encrypted connection, from what the files hold now.

        Raises:
            OSError: a file can't be read, or has no certificate or key (ssl.SSLError), or the key's password
                is wrong.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.check_hostname
        if self.certificate_file:
            # Not None: Python would ask for the password on the terminal
            context.load_cert_chain(self.certificate_file, self.key_file, password=self.key_password)
        return context


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster as a client sees it.

    Attributes:
        servers: bootstrap servers, HOST:PORT separated by commas.
        config_file: the client properties file of --config.
        security: how to connect.
        client_id: names this client in the broker's log and quotas.
        compression: the codec of what is sent.
        java_reads_it: whether Kafka's own tools can use the file, too.
    """

    servers: str
    config_file: str | None = None
    security: Security = Security()
    client_id: str | None = None
    compression: str | None = None
    java_reads_it: bool = True

    def __str__(self) -> str:
        return self.servers

    def security_now(self) -> Security:
        """Return how to connect by what the file says now: a password may have been changed since."""
        if not self.config_file:
            return self.security
        try:
            return parse_security(_by_first_names(_read(self.config_file), self.config_file))
        except ConfigError:  # it is just being written
            return self.security


def read_cluster(config_file: str | None, servers: str | None, default_servers: str) -> Cluster:
    """Return the cluster that the options describe.

    Args:
        config_file: a client properties file.
        servers: bootstrap servers, where the option names them; they overrule the file.
        default_servers: where the file has none either.

    Raises:
        ConfigError: the file can't be read or used.
    """
    if not config_file:
        return Cluster(servers or default_servers)
    as_written = _read(config_file)
    properties = _by_first_names(as_written, config_file)
    security = parse_security(properties)
    if security.tls:
        _require_usable_files(security)  # only at the start: each connection reads them itself
    if (security.password or security.key_password) and os.stat(config_file).st_mode & 0o007:
        log.warning(f"{config_file} holds a password, and anybody may read it: chmod o= {config_file}")
    if ignored := sorted(properties.keys() & set(CHOSEN_HERE)):
        log.debug(f"{config_file}: not used, the scripts choose it themselves: {', '.join(ignored)}")
    compression = properties.get("compression.type", "none")
    _require_one_of(CODECS, "compression.type", compression)
    return Cluster(
        servers or properties.get("bootstrap.servers") or default_servers,
        os.path.abspath(config_file),
        security,
        properties.get("client.id"),
        None if compression == "none" else compression,
        java_reads_it=not as_written.keys() & ONLY_LIBRDKAFKA,
    )


def parse_security(properties: Mapping[str, str]) -> Security:
    """Return how to connect.

    Args:
        properties: of a client properties file, by the first name of each.

    Raises:
        ConfigError: they can't be right.
    """
    protocol = properties.get("security.protocol", "PLAINTEXT").upper()
    _require_one_of((*NO_TLS, *TLS), "security.protocol", protocol)
    for prefix, protocols in (("sasl.", ("SASL_SSL", "SASL_PLAINTEXT")), ("ssl.", ("SASL_SSL", "SSL"))):
        lost = [name for name in properties if name.startswith(prefix) and name not in CHOSEN_HERE]
        if lost and protocol not in protocols:
            raise ConfigError(
                f"{lost[0]} has no effect with security.protocol={protocol}; "
                f"set that to {' or '.join(protocols)}"
            )
    mechanism, user, password = _credentials(properties) if protocol.startswith("SASL") else (None, "", "")
    token_url = properties.get("sasl.oauthbearer.token.endpoint.url", "")
    if mechanism == OAUTHBEARER and not token_url.startswith("https://"):
        raise ConfigError("sasl.oauthbearer.token.endpoint.url must be an address that starts with https://")
    check = properties.get("ssl.endpoint.identification.algorithm", "https").lower()
    _require_one_of(("https", "none", ""), "ssl.endpoint.identification.algorithm", check)
    return Security(
        protocol,
        mechanism,
        user,
        password,
        token_url,
        properties.get("sasl.oauthbearer.scope") or _jaas(properties).get("scope", ""),
        _pem_file(properties, "ssl.ca.location", "ssl.truststore"),
        _pem_file(properties, "ssl.certificate.location", "ssl.keystore"),
        _pem_file(properties, "ssl.key.location", "ssl.key"),
        properties.get("ssl.key.password", ""),
        check_hostname=check == "https",
    )


def _read(file: str) -> dict[str, str]:
    """Return the properties of a file as they are written there."""
    try:
        with open(file, encoding="utf-8-sig") as opened:  # -sig: without a byte order mark
            return parse_properties(opened.read())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no properties file: it is not UTF-8") from error


def _by_first_names(properties: Mapping[str, str], file: str) -> dict[str, str]:
    """Return properties by the first name of each."""
    known = {}
    for name, value in properties.items():
        if name in CHOSEN_HERE:
            known[name] = value
        elif name in FIRST_NAMES:
            known[FIRST_NAMES[name]] = value
        elif not value:  # it may be a password that was written on a line of its own
            raise ConfigError(f"{file}: a line has no value, and no name that is known")
        else:
            raise ConfigError(f"{file}: property {name!r} is not known (docs/security.md has those that are)")
    for name in (
        "sasl.password",
        "sasl.oauthbearer.client.secret",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.truststore.password",
    ):
        hide(known.get(name, ""))
    hide(_jaas(known).get("password", ""))
    hide(_jaas(known).get("clientSecret", ""))
    return known


def _credentials(properties: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the mechanism of SASL, and the user and password for it."""
    mechanism = properties.get("sasl.mechanism", "").upper()
    _require_one_of(MECHANISMS, "sasl.mechanism", mechanism)
    jaas = _jaas(properties)
    if mechanism == OAUTHBEARER:
        names, in_jaas = (
            ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret"),
            ("clientId", "clientSecret"),
        )
    else:
        names, in_jaas = ("sasl.username", "sasl.password"), ("username", "password")
    values = [properties.get(name) or jaas.get(key, "") for name, key in zip(names, in_jaas, strict=True)]
    for name, key, value in zip(names, in_jaas, values, strict=True):
        if PLACEHOLDER.fullmatch(value):
            state = "is only a placeholder" if value else "is missing"
            raise ConfigError(f"{name} (or {key} in sasl.jaas.config) {state}; {mechanism} needs it")
    return mechanism, *values  # type: ignore[return-value]  # there are two


def _jaas(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the options of the login module in sasl.jaas.config, such as username and password."""
    return {
        name: re.sub(r"\\(.)", r"\1", double or single) or bare
        for name, double, single, bare in JAAS_OPTION.findall(properties.get("sasl.jaas.config", ""))
    }


def _pem_file(properties: Mapping[str, str], name: str, store: str) -> str | None:
    kind = properties.get(f"{store}.type", "PEM").upper()
    file = properties.get(name)
    if kind != "PEM" or (file or "").lower().endswith((".jks", ".p12", ".pfx")):
        raise ConfigError(
            f"{store}: only PEM files can be read; convert it with `keytool -importkeystore "
            "-deststoretype pkcs12` and `openssl pkcs12 -nodes` (docs/security.md)"
        )
    return file


def _require_usable_files(security: Security) -> None:
    for name, file in (
        ("ssl.ca.location", security.ca_file),
        ("ssl.certificate.location", security.certificate_file),
        ("ssl.key.location", security.key_file),
    ):
        try:
            if file:
                open(file, "rb").close()
        except OSError as error:
            raise ConfigError(f"{name}: {file}: {error.strerror}") from error
    try:
        ssl.create_default_context(cafile=security.ca_file)
    except OSError as error:
        raise ConfigError(f"ssl.ca.location: {security.ca_file} has no certificate in PEM form") from error
    if security.certificate_file and not security.key_file and not _has_key(security.certificate_file):
        raise ConfigError(f"ssl.key.location is missing, and {security.certificate_file} holds no key")
    try:
        security.tls_context()
    except OSError as error:
        key = security.key_file or security.certificate_file
        raise ConfigError(
            f"{security.certificate_file} and {key} are no certificate and key that belong together, "
            "or ssl.key.password is wrong"
        ) from error


def _has_key(file: str) -> bool:
    with open(file, "rb") as opened:
        return b"PRIVATE KEY-----" in opened.read()


def _require_one_of(allowed: tuple[str, ...], name: str, value: str) -> None:
    if value not in allowed:
        listed = ", ".join(word for word in allowed if word)
        # Not the value: it may be a password in the wrong line
        raise ConfigError(f"{name} {'is not one of' if value else 'is missing; it can be'} {listed}")
