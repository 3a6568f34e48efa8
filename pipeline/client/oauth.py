"""Tokens for SASL/OAUTHBEARER (RFC 7628), by the client credentials grant of OAuth 2.0 (RFC 6749, 4.4)."""

import functools
import logging
import threading
import time
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from pipeline.cli.cluster import Security
from pipeline.cli.process import PipelineError
from pipeline.cli.status import hide
from pipeline.client.refusals import TokenError

try:
    from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
    from requests import RequestException
    from requests_oauthlib import OAuth2Session
except ModuleNotFoundError as missing:
    raise PipelineError(
        "sasl.mechanism=OAUTHBEARER: not installed: requests-oauthlib. pip install -r requirements/oauth.txt"
    ) from missing

ANSWER_SECONDS = 4.0
USED_SHARE = 0.8  # of a token's life, as Kafka's Java client does it
DEFAULT_LIFE_SECONDS = 300.0


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # the client has no types
    """One token for all connections of this process, until most of its life is over."""

    def __init__(self, security: Security) -> None:
        for library in ("oauthlib", "requests_oauthlib"):
            logging.getLogger(library).setLevel(logging.WARNING)  # they log tokens, at level debug
        self._security = security
        self._lock = threading.Lock()
        self._token = ""
        self._use_until = 0.0

    def token(self) -> str:
        """Return a valid token.

        Raises:
            TokenError: the token endpoint does not answer, or refuses.
        """
        with self._lock:
            if time.monotonic() > self._use_until:
                answer = self._fetch()
                self._token = str(answer["access_token"])
                hide(self._token)
                life = float(answer.get("expires_in", DEFAULT_LIFE_SECONDS))
                self._use_until = time.monotonic() + USED_SHARE * life
            return self._token

    def _fetch(self) -> dict[str, Any]:
        security = self._security
        client = BackendApplicationClient(security.user, scope=security.scope or None)
        try:
            with OAuth2Session(client=client) as session:
                answer: dict[str, Any] = session.fetch_token(
                    security.token_url,
                    client_secret=security.password,
                    include_client_id=True,
                    timeout=ANSWER_SECONDS,
                )
        except OAuth2Error as error:
            said = error.description or error.error
            raise TokenError(
                f"{security.token_url} refuses client {security.user} ({said}). "
                "Check the client's id, secret and scope."
            ) from error
        except RequestException as error:
            raise TokenError(
                f"{security.token_url} does not answer ({type(error).__name__}). Check "
                "sasl.oauthbearer.token.endpoint.url, and $REQUESTS_CA_BUNDLE for an authority of your own."
            ) from error
        return answer


token_provider = functools.cache(_Tokens)  # one for all clients with the same credentials
