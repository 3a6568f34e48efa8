"""The network part of kafka-python's clients; this one tolerates a vanished broker and leaves no thread."""

from typing import Any

from kafka.errors import KafkaError, NodeNotReadyError, UnknownBrokerIdError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.client.records import read_any_header_name


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the client has no types
    def bootstrap(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Connect for the first time; close everything where that fails.

        The constructor of a client ends here with an error, and would leave its thread behind for ever.
        """
        try:
            super().bootstrap(*arguments, **options)
        except KafkaError:
            self.close()
            self._net.close()
            raise

    def get_connection(self, node_id: int | str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return a connection; a broker that vanished counts as one that does not answer now.

        While brokers come and go, the leader of a partition may be unknown for a moment. kafka-python 3.0.12
        raises an error then that no caller expects: a fetch counts as in flight for ever, and records that
        were fetched before it are dropped; a producer's thread sends nothing any more, to any broker.
        """
        try:
            return super().get_connection(node_id, *arguments, **options)
        except UnknownBrokerIdError as error:
            self.update_backoff(node_id)  # the pause before the next attempt
            self.cluster.request_update()
            raise NodeNotReadyError(node_id) from error


class Network(KafkaNetClient):  # type: ignore[misc]
    """The value of a client's option `kafka_client`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        """Take the settings of the client."""
        read_any_header_name()
        selector = NetworkSelector(**settings)
        super().__init__(selector, _Connections(selector, **settings))
