"""The network part of kafka-python's clients.

This one tolerates a vanished broker, leaves no thread, says why a broker refuses it, and uses a changed
certificate or password from its next connection on.
"""

from contextlib import suppress
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError, NodeNotReadyError, UnknownBrokerIdError
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.cli.cluster import OAUTHBEARER, Cluster, Security
from pipeline.client.records import read_any_header_name
from pipeline.client.refusals import ConnectionRefused, refusal_of, report


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the client has no types
    def __init__(self, net: NetworkSelector, cluster: Cluster, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(net, **settings)
        self._of_cluster = cluster
        self._refusals: dict[int | str, ConnectionRefused] = {}  # of each node the last one
        self._was_let_in = False

    def bootstrap(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Connect for the first time; close everything where that fails.

        The constructor of a client ends here with an error, and would leave its thread behind for ever.
        """
        try:
            super().bootstrap(*arguments, **options)
        except KafkaError as error:
            self.close()
            self._net.close()
            if isinstance(error, KafkaTimeoutError) and self._refusals:  # some refuse, the others are silent
                raise next(iter(self._refusals.values())) from error
            raise

    def get_connection(self, node_id: int | str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return a connection; a broker that vanished counts as one that does not answer now.

        While brokers come and go, the leader of a partition may be unknown for a moment. kafka-python 3.0.12
        raises an error then that no caller expects: a fetch counts as in flight for ever, and records that
        were fetched before it are dropped; a producer's thread sends nothing any more, to any broker.
        """
        if node_id in self._refusals and self.cluster.is_bootstrap(node_id):
            # kafka-python would try the same password until its time-out
            if all(broker.node_id in self._refusals for broker in self.cluster.bootstrap_brokers()):
                raise self._refusals[node_id]
            raise NodeNotReadyError(node_id)  # another one may take this client
        try:
            return super().get_connection(node_id, *arguments, **options)
        except UnknownBrokerIdError as error:
            self.update_backoff(node_id)  # the pause before the next attempt
            self.cluster.request_update()
            raise NodeNotReadyError(node_id) from error

    async def _build_transport(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return a connection that delivers the last answer before its end.

        A broker says why it refuses a client, and closes the connection at once. kafka-python 3.0.12 drops
        what it received where it finds the end behind it.
        """
        transport = await super()._build_transport(*arguments, **options)
        receive = transport._sock_recv

        def receive_all() -> tuple[bytes, KafkaError | None]:
            data, error = receive()
            return data, None if data else error  # the end is still there at the next call

        transport._sock_recv = receive_all
        return transport

    async def _connect(self, node: Any, conn: KafkaConnection, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        security = self._of_cluster.security_now()
        conn.config.update(_credentials(security))
        if security.tls:
            with suppress(OSError):  # the files are just being replaced; those of before may still do
                self.config["ssl_context"] = security.tls_context()

        def failed(error: BaseException) -> None:
            # Where it is another error, the first reason stays: Kafka may just close the next connection
            if refusal := refusal_of(error, where, self._of_cluster, security):
                self._refusals[node.node_id] = refusal
                if self._was_let_in:  # else a call of the client raises it
                    report(refusal)

        where = f"{node.host}:{node.port}"
        conn.init_future.add_errback(failed)
        await super()._connect(node, conn, *arguments, **options)
        if conn.init_future.succeeded():
            self._refusals.pop(node.node_id, None)
            self._was_let_in = self._was_let_in or not self.cluster.is_bootstrap(node.node_id)
            report(None)


class Network(KafkaNetClient):  # type: ignore[misc]
    """The value of a client's option `kafka_client`."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:  # noqa: ANN401
        """Take the settings of the client, and where and how it connects."""
        read_any_header_name()
        _credentials(cluster.security)  # raises here what would only end a thread later
        selector = NetworkSelector(**settings)
        super().__init__(selector, _Connections(selector, cluster, **settings))


def _credentials(security: Security) -> dict[str, Any]:
    """Return kafka-python's settings for SASL."""
    if security.mechanism == OAUTHBEARER:
        from pipeline.client.oauth import token_provider  # needs requirements/oauth.txt

        return {"sasl_mechanism": OAUTHBEARER, "sasl_oauth_token_provider": token_provider(security)}
    return {
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.user,
        "sasl_plain_password": security.password,
    }
