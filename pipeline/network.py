"""The network part of kafka-python's clients, which stands a broker that is gone."""

from typing import Any

from kafka.errors import NodeNotReadyError, UnknownBrokerIdError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the client has no types
    def get_connection(self, node_id: int | str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Give a connection, or say "not now" of a broker that is gone, as of one that does not answer.

        While brokers come and go, a partition may have a leader for a moment that is none of them. What
        kafka-python 3.0.12 raises then comes where nobody expects it: a fetch counts as on its way for ever,
        and records that were fetched before it are dropped; a producer sends nothing any more, to no broker.
        """
        try:
            return super().get_connection(node_id, *arguments, **options)
        except UnknownBrokerIdError as error:
            self.update_backoff(node_id)  # the pause before it is tried again
            self.cluster.request_update()
            raise NodeNotReadyError(node_id) from error


class Network(KafkaNetClient):  # type: ignore[misc]
    """What a client is made with, by its option `kafka_client`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        """Take the settings of the client."""
        selector = NetworkSelector(**settings)
        super().__init__(selector, _Connections(selector, **settings))
