"""Why a broker and a client do not let each other in, in words."""

import ssl
from collections.abc import Iterator

from kafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)

from pipeline.cli.cluster import OAUTHBEARER, Cluster, Security
from pipeline.cli.status import log

# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
EXPIRED, NOT_YET_VALID, WRONG_HOST, WRONG_ADDRESS = 10, 9, 62, 64
# https://www.rfc-editor.org/rfc/rfc8446#section-6.2
CLIENT_CERTIFICATE_ALERTS = (
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
)


class ConnectionRefused(KafkaError):  # type: ignore[misc]  # the client has no types
    """Broker and client do not let each other in; the message says why, and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])  # without the name of the class


class TokenError(KafkaError):  # type: ignore[misc]
    """No token could be had; the message says why, and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


# What ends a client at its start; while it runs, a person may put it right, and it goes on.
REFUSALS = (
    ConnectionRefused,
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
_reported: set[str] = set()


def report(refusal: ConnectionRefused | None) -> None:
    """Print that a client is refused while it runs, once until one is let in again.

    Args:
        refusal: the reason; None if a broker let a client in.
    """
    if refusal is None:
        _reported.clear()
    elif str(refusal) not in _reported:
        _reported.add(str(refusal))
        log.warning(f"{refusal} Until then this tries again.")


def refusal_of(
    error: BaseException | None, where: str, cluster: Cluster, security: Security
) -> ConnectionRefused | None:
    """Return what an error says about credentials and certificates; None if it is about something else.

    Args:
        error: why a connection could not be made; None if it was.
        where: HOST:PORT of the broker.
        cluster: has the name of the client properties file.
        security: how the connection was tried.
    """
    file = cluster.config_file or "the file of --config"
    causes = list(_causes(error)) if error else []
    for cause in causes:
        if isinstance(cause, ConnectionRefused):
            return cause
        reason = _sasl_reason(cause, security, file) or _tls_reason(cause, security, file)
        if reason:
            return ConnectionRefused(f"Kafka at {where} {reason}")
    return None


def _sasl_reason(error: BaseException, security: Security, file: str) -> str:
    if isinstance(error, TokenError):
        return f"needs a token: {error}"
    if isinstance(error, UnsupportedSaslMechanismError):
        return (
            f"does not know sasl.mechanism={security.mechanism}. "
            f"Set the one that it has in {file} (sasl.enabled.mechanisms of the broker)."
        )
    if isinstance(error, IllegalSaslStateError):
        return f"takes no password on this port. Set security.protocol in {file} to PLAINTEXT or SSL."
    if isinstance(error, SaslAuthenticationFailedError):
        if security.mechanism == OAUTHBEARER:
            return (
                f"refuses the token of {security.user}. Check its scope, "
                "and the issuer and audience that the broker expects."
            )
        return (
            f"refuses user {security.user} or its password ({security.mechanism}). "
            f"Check both in {file}, and the mechanism."
        )
    return ""


def _tls_reason(error: BaseException, security: Security, file: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrust(error, file)
    if not isinstance(error, ssl.SSLError):
        return ""
    alert = (error.reason or "").rpartition("ALERT_")[2]
    if alert not in CLIENT_CERTIFICATE_ALERTS:
        return ""
    if not security.certificate_file:
        return (
            "asks for this client's certificate. "
            f"Set ssl.certificate.location and ssl.key.location in {file}."
        )
    return (
        f"refuses the certificate {security.certificate_file} ({alert.lower().replace('_', ' ')}). "
        "Renew it, signed by an authority that the broker trusts."
    )


def _distrust(error: ssl.SSLCertVerificationError, file: str) -> str:
    if error.verify_code == EXPIRED:
        return "has a certificate that has expired. Renew it on the broker, or check this machine's clock."
    if error.verify_code == NOT_YET_VALID:
        return "has a certificate that is not valid yet. Check this machine's clock."
    if error.verify_code in (WRONG_HOST, WRONG_ADDRESS):
        said = error.verify_message.rstrip(".")
        return f"has a certificate for another host ({said}). Connect by a name that it is for."
    return (
        f"has a certificate by an unknown authority ({error.verify_message}). "
        f"Name the authority's PEM file in ssl.ca.location of {file}."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was caused by: kafka-python keeps that in the arguments, or the context."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        error = waiting.pop(0)
        if error in seen:
            continue
        seen.append(error)
        yield error
        inner = [*error.args, error.__cause__, error.__context__]
        waiting += [each for each in inner if isinstance(each, BaseException)]
