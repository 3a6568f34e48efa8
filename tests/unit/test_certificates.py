"""local/certificates.py: what is issued is accepted where it is right, and refused where it is not."""

import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from pipeline.local.certificates import Authority, is_valid_until, issue, new_authority, read_authority

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority("Authority of a test")


def shake_hands(folder: Path, trusted: Authority, server: str, client: str, host: str) -> str:
    """Let a client and a server that trust the same authority connect; return who the client is."""
    for name, pem in (("ca", trusted.certificate_pem), ("server", server), ("client", client)):
        (folder / name).write_text(pem)
    at_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_server.verify_mode = ssl.CERT_REQUIRED
    at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, own in ((at_server, "server"), (at_client, "client")):
        context.load_verify_locations(folder / "ca")
        context.load_cert_chain(folder / own)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    servers_end = at_server.wrap_bio(to_server, to_client, server_side=True)
    clients_end = at_client.wrap_bio(to_client, to_server, server_hostname=host)
    for end in (clients_end, servers_end, clients_end, servers_end):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = servers_end.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown or b"").subject.rfc4514_string()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_server_and_client_accept_each_other(tmp_path: Path, authority: Authority, host: str) -> None:
    server = issue(authority, "broker", ["localhost", "127.0.0.1"])
    assert shake_hands(tmp_path, authority, server, issue(authority, "kim"), host) == "CN=kim"


@pytest.mark.parametrize(
    ("hosts", "valid_from", "valid_until", "reason"),
    [
        (["localhost"], NOW - 2 * DAY, NOW - DAY, "certificate has expired"),
        (["localhost"], NOW + DAY, NOW + 2 * DAY, "certificate is not yet valid"),
        (["kafka.example"], None, None, "Hostname mismatch"),
        ([], None, None, "Hostname mismatch"),
    ],
)
def test_a_server_with_a_wrong_certificate_is_refused(
    tmp_path: Path,
    authority: Authority,
    hosts: list[str],
    valid_from: datetime | None,
    valid_until: datetime | None,
    reason: str,
) -> None:
    server = issue(authority, "broker", hosts, valid_from, valid_until)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        shake_hands(tmp_path, authority, server, issue(authority, "kim"), "localhost")


def test_a_client_of_another_authority_of_the_same_name_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    other = issue(new_authority("Authority of a test"), "kim")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, authority, issue(authority, "broker", ["localhost"]), other, "localhost")


def test_an_authority_is_the_same_after_it_was_read(authority: Authority) -> None:
    again = read_authority(authority.pem)
    assert again.pem == authority.pem
    assert is_valid_until(issue(again, "kim"), NOW + 360 * DAY, authority)


def test_until_when_and_by_whom(authority: Authority) -> None:
    pem = issue(authority, "kim", valid_until=NOW + DAY)
    assert is_valid_until(pem, NOW, authority)
    assert not is_valid_until(pem, NOW + 2 * DAY, authority)
    assert not is_valid_until(pem, NOW, new_authority("Authority of a test"))
    assert not is_valid_until(pem, NOW, new_authority("Another"))
