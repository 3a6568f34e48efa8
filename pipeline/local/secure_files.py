"""The files of a secured cluster: certificates, and a client properties file with a password for each user.

They are the truth: a password is created where its file is missing, and the cluster learns it at its next
start. Nothing but the authority's certificate may be read by others.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pipeline.cli.cluster import Cluster, ConfigError, Security, read_cluster
from pipeline.cli.process import PipelineError
from pipeline.cli.properties import escape, parse_properties
from pipeline.cli.status import log
from pipeline.local.private import write_private
from pipeline.local.rights import USERS

BROKER = "broker"  # the name in the brokers' certificate; in access lists it is User:CN=broker
RENEW_BEFORE = timedelta(days=30)
MECHANISM = "SCRAM-SHA-512"
LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
REQUIREMENTS = "requirements/secure.txt"


class SecureFiles:
    """The files below a cluster's folder."""

    def __init__(self, folder: Path, servers: str, hosts: Sequence[str]) -> None:
        """Describe them; nothing is written.

        Args:
            folder: of the cluster.
            servers: its bootstrap servers.
            hosts: the names and addresses of its brokers.
        """
        self._folder = folder
        self._servers = servers
        self._hosts = hosts
        self._authority = folder / "authority.pem"
        self.ca = folder / "ca.pem"
        self.broker = folder / "broker.pem"
        self.clients = folder / "clients"

    @property
    def of_broker(self) -> Security:
        """How a broker connects to another one: both show their certificates (mutual TLS)."""
        return Security("SSL", ca_file=str(self.ca), certificate_file=str(self.broker))

    def client(self, user: str) -> Path:
        """Return the client properties file of a user."""
        return self.clients / f"{user}.properties"

    def make(self) -> None:
        """Write what is missing, and renew the brokers' certificate before it expires.

        Raises:
            PipelineError: a file can't be used, or the package that makes certificates is not installed.
        """
        self.clients.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder, self.clients):
            folder.chmod(0o700)
        self._make_certificates()
        for user in USERS:
            self._write_client(user)

    def cluster(self, user: str) -> Cluster:
        """Return the cluster as a user's client sees it.

        Raises:
            PipelineError: the user's file can't be used.
        """
        file = self.client(user)
        try:
            return read_cluster(str(file), None, self._servers)
        except ConfigError as error:
            raise PipelineError(f"{error}. Delete {file}: the next start makes a new password.") from error

    def passwords(self) -> dict[str, str]:
        """Return the password of each user.

        Raises:
            PipelineError: a file can't be used.
        """
        return {user: self.cluster(user).security.password for user in USERS}

    def _make_certificates(self) -> None:
        try:
            from pipeline.local.certificates import is_valid_until, issue, new_authority, read_authority
        except ModuleNotFoundError as error:
            raise PipelineError(
                f"{error.name} is not installed, it makes the certificates: pip install -r {REQUIREMENTS}"
            ) from error
        if not self._authority.exists():
            write_private(self._authority, new_authority(f"Authority of {self._folder.name}").pem)
        try:
            authority = read_authority(self._authority.read_text("utf-8"))
        except ValueError as error:
            raise PipelineError(
                f"{self._authority} holds no certificate and key. Delete it, and start the cluster again: "
                f"then clients need the new {self.ca.name}."
            ) from error
        if not self.ca.exists() or self.ca.read_text("utf-8") != authority.certificate_pem:
            self.ca.write_text(authority.certificate_pem, "utf-8")
        least = datetime.now(timezone.utc) + RENEW_BEFORE
        if self.broker.exists():
            if is_valid_until(self.broker.read_text("utf-8"), least, authority):
                return
            log.info(
                f"Renewing the brokers' certificate {self.broker}: one that runs needs a restart for it."
            )
        write_private(self.broker, issue(authority, BROKER, self._hosts))

    def _write_client(self, user: str) -> None:
        file = self.client(user)
        kept = parse_properties(file.read_text("utf-8")) if file.exists() else {}
        password = secrets.token_urlsafe(24)
        properties = {
            "sasl.jaas.config": f'{LOGIN_MODULE} required username="{user}" password="{password}";',
            **kept,
            "bootstrap.servers": self._servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca),  # the folder may have been moved
        }
        write_private(file, "".join(f"{name}={escape(value)}\n" for name, value in properties.items()))
