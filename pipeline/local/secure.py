"""A secured Kafka: TLS from an authority of its own, users with passwords, and nothing allowed by default.

    CLIENT      for clients: SASL_SSL, a password (SCRAM-SHA-512)
    INTERNAL    between brokers, and for the first users: mutual TLS
    CONTROLLER  of the controllers: mutual TLS

A client with the brokers' certificate is a super user (User:CN=broker). So no user has to exist before the
first start: `kafka-storage format --add-scram` would take a password on its command line, for all to see.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pipeline.cli.cluster import Cluster
from pipeline.cli.process import PipelineError
from pipeline.client.access import grant, set_passwords
from pipeline.client.admin import admin_client, ensure_compacted_topic, ensure_topics
from pipeline.client.errors import KafkaError, describe
from pipeline.client.health import answers
from pipeline.local import HOME, HOST
from pipeline.local.kafka import (
    CONTROLLER,
    CONTROLLER_PORT_DISTANCE,
    DEFAULT_PORT,
    INTERNAL_PORT_DISTANCE,
    LocalKafka,
    Node,
)
from pipeline.local.rights import ADMIN, SCRIPTS
from pipeline.local.secure_files import BROKER, LOGIN_MODULE, MECHANISM, SecureFiles
from pipeline.topics import ANALYTICS_DLQ, ANALYTICS_EVENTS, DLQ_REPLAYS, PURCHASE_EVENTS, WEB_EVENTS

HOSTS = ("localhost", HOST)
USERS_SECONDS = 30.0  # until every broker knows the users
SETTINGS = {
    "listener.security.protocol.map": f"CLIENT:SASL_SSL,INTERNAL:SSL,{CONTROLLER}:SSL",
    "inter.broker.listener.name": "INTERNAL",
    "listener.name.internal.ssl.client.auth": "required",
    "listener.name.controller.ssl.client.auth": "required",
    "listener.name.client.sasl.enabled.mechanisms": MECHANISM,
    f"listener.name.client.{MECHANISM.lower()}.sasl.jaas.config": f"{LOGIN_MODULE} required;",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    # From the folder that a broker runs in; see log.dirs
    "ssl.keystore.location": "../broker.pem",
    "ssl.truststore.location": "../ca.pem",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:CN={BROKER};User:{ADMIN}",
    "auto.create.topics.enable": "false",
}


class SecureKafka(LocalKafka):
    """A secured cluster of local brokers and its folder."""

    kind = "secure-cluster"
    elsewhere = "`python -m pipeline.local start --secure --port 9292`; the files of its users have the port."
    listeners = MappingProxyType(
        {"CLIENT": 0, "INTERNAL": INTERNAL_PORT_DISTANCE, CONTROLLER: CONTROLLER_PORT_DISTANCE}
    )

    def __init__(
        self,
        brokers: int = 1,
        port: int = DEFAULT_PORT,
        home: Path = HOME,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Describe a cluster; nothing is started. The arguments are those of LocalKafka."""
        super().__init__(brokers, port, home, {**SETTINGS, **settings})
        self.files = SecureFiles(self.folder, self.bootstrap_servers, HOSTS)

    def reached_at(self, node: Node) -> Cluster:
        """Return one broker as another one reaches it: users may not exist yet."""
        return Cluster(f"{HOST}:{node.port + INTERNAL_PORT_DISTANCE}", security=self.files.of_broker)

    def _start(self, missing: Sequence[Node]) -> None:
        self.files.make()
        super()._start(missing)

    def _wait_until_up(self) -> None:
        super()._wait_until_up()
        self.files.make()  # also one that was deleted while the cluster runs
        inside = self.reached_at(self.nodes[0])
        set_up(inside, self.files)
        wait_for_users([Cluster(f"{HOST}:{node.port}") for node in self.nodes], self.files)


def set_up(inside: Cluster, files: SecureFiles) -> None:
    """Create the topics of the scripts, their users, and the access lists, unless they are there.

    A script then needs no right to create a topic or to change its settings. The names are those that the
    scripts use with the $TOPIC_PREFIX of this process.

    Args:
        inside: where a super user connects to.
        files: have the passwords.

    Raises:
        PipelineError: a broker refuses, or is unreachable.
    """
    try:
        ensure_topics(inside, WEB_EVENTS, PURCHASE_EVENTS, ANALYTICS_EVENTS, ANALYTICS_DLQ)
        ensure_compacted_topic(inside, DLQ_REPLAYS)
        with admin_client(inside) as admin:
            grant(admin, SCRIPTS)
            set_passwords(admin, files.passwords())
    except KafkaError as error:
        raise PipelineError(f"Users and their rights could not be set up: {describe(error)}") from error


def wait_for_users(brokers: Sequence[Cluster], files: SecureFiles) -> None:
    """Wait until each broker lets the super user in: it learns of users after the controller does.

    Args:
        brokers: each by itself, at the listener for clients.
        files: have the passwords.

    Raises:
        PipelineError: one of them does not in time.
    """
    deadline = time.monotonic() + USERS_SECONDS
    for broker in brokers:
        user = replace(files.cluster(ADMIN), servers=broker.servers)
        while not answers(user, seconds=1):
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"Kafka at {broker} still refuses the user of {files.client(ADMIN)} "
                    f"after {USERS_SECONDS:.0f} s."
                )
            time.sleep(0.2)
