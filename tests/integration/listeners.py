"""A Kafka with a listener for each kind of trouble that TLS and passwords can make."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pipeline.cli.cluster import Cluster
from pipeline.client.access import set_passwords
from pipeline.client.admin import admin_client
from pipeline.local import HOST
from pipeline.local.certificates import Authority, issue, new_authority
from pipeline.local.kafka import CONTROLLER, CONTROLLER_PORT_DISTANCE, LocalKafka
from pipeline.local.secure_files import LOGIN_MODULE

# The protocol of each listener; the name of its certificate
LISTENERS = {
    "PLAINTEXT": ("PLAINTEXT", ""),
    "LOGIN": ("SASL_SSL", "broker"),
    "SCRAM": ("SASL_PLAINTEXT", ""),
    "MUTUAL": ("SSL", "broker"),
    "EXPIRED": ("SSL", "expired"),
    "ELSEWHERE": ("SSL", "elsewhere"),
    "MISNAMED": ("SSL", "misnamed"),  # the broker says that it is at 127.0.0.1
}
USER, PASSWORD, MUTE = "kim", "very-secret-1", "mute"
MODULES = {
    "scram-sha-512": LOGIN_MODULE,
    "oauthbearer": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}


class ListeningKafka(LocalKafka):
    """A broker that lets users in on many ports, and allows nothing by default.

    Attributes:
        files: the folder of certificates and client properties files.
    """

    def __init__(self, home: Path, ports: Mapping[str, int]) -> None:
        first = ports["PLAINTEXT"]
        distances = {name: port - first for name, port in ports.items()}
        self.listeners = {**distances, CONTROLLER: CONTROLLER_PORT_DISTANCE}
        self._ports = ports
        self.files = home / "files"
        self.files.mkdir(exist_ok=True)
        self.authority, self.stranger = new_authority("Ours"), new_authority("Another")
        self._issue_all()
        super().__init__(port=first, home=home, settings=self._broker_settings())

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("localhost", HOST),
        valid_until: datetime | None = None,
        authority: Authority | None = None,
    ) -> Path:
        """Write a certificate and its key to a file; an existing one is replaced."""
        file = self.files / f"{name}.pem"
        begin = datetime.now(timezone.utc) - timedelta(days=30)
        file.write_text(issue(authority or self.authority, name, hosts, begin, valid_until))
        return file

    def server(self, listener: str) -> str:
        """Return HOST:PORT of a listener."""
        return f"localhost:{self._ports[listener]}"

    def config(self, name: str, listener: str, **properties: object) -> str:
        """Write a client properties file, and return its path.

        Args:
            name: of the file.
            listener: that it connects to.
            properties: with _ for each dot; its security.protocol is that of the listener by default.
        """
        protocol = LISTENERS[listener][0]
        all_properties = {"bootstrap.servers": self.server(listener), "security.protocol": protocol}
        all_properties |= {each.replace("_", "."): str(value) for each, value in properties.items()}
        if all_properties["security.protocol"] in ("SSL", "SASL_SSL"):
            all_properties.setdefault("ssl.ca.location", str(self.files / "ca.pem"))
        file = self.files / f"{name}.properties"
        file.write_text("".join(f"{each}={value}\n" for each, value in all_properties.items()))
        file.chmod(0o600)
        return str(file)

    def set_password(self, user: str, password: str) -> None:
        """Create a user, or change its password."""
        with admin_client(Cluster(self.bootstrap_servers)) as admin:
            set_passwords(admin, {user: password})

    def _issue_all(self) -> None:
        (self.files / "ca.pem").write_text(self.authority.certificate_pem)
        (self.files / "another.pem").write_text(self.stranger.certificate_pem)
        self.issue("broker")
        self.issue("expired", valid_until=datetime.now(timezone.utc) - timedelta(days=1))
        self.issue("elsewhere", hosts=["kafka.example.com"])
        self.issue("misnamed", hosts=["localhost"])
        self.issue("client")
        self.issue("stranger", authority=self.stranger)

    def _broker_settings(self) -> dict[str, object]:
        protocols = ",".join(f"{name}:{protocol}" for name, (protocol, _) in LISTENERS.items())
        settings: dict[str, object] = {
            "listener.security.protocol.map": f"{protocols},{CONTROLLER}:PLAINTEXT",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.login.sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
        }
        for name, (_, certificate) in LISTENERS.items():
            prefix = f"listener.name.{name.lower()}"
            if certificate:
                settings |= {
                    f"{prefix}.ssl.keystore.type": "PEM",
                    f"{prefix}.ssl.keystore.location": self.files / f"{certificate}.pem",
                    f"{prefix}.ssl.truststore.type": "PEM",
                    f"{prefix}.ssl.truststore.location": self.files / "ca.pem",
                }
            for mechanism, module in MODULES.items():
                of_mechanism = f"{prefix}.{mechanism}.sasl.jaas.config"
                settings[of_mechanism] = f'{module} required unsecuredLoginStringClaim_sub="broker";'
        return settings
