"""Certificates for TLS, signed by an authority of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_VALID = timedelta(days=3650)
VALID = timedelta(days=365)
CLOCK_TOLERANCE = timedelta(minutes=5)  # of other machines and containers


@dataclass(frozen=True)
class Authority:
    """A certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> str:
        """Its certificate, which clients trust."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pem(self) -> str:
        """Its key and certificate, to read it again with read_authority()."""
        return _key_pem(self.key) + self.certificate_pem


def new_authority(common_name: str, valid: timedelta = AUTHORITY_VALID) -> Authority:
    """Make an authority.

    Args:
        common_name: its name.
        valid: for how long from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    certificate = (
        _builder(common_name, common_name, key.public_key(), now - CLOCK_TOLERANCE, now + valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(of_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def read_authority(pem: str) -> Authority:
    """Return the authority whose `pem` this is.

    Raises:
        ValueError: it is something else.
    """
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not of the kind that new_authority() makes")
    return Authority(x509.load_pem_x509_certificate(pem.encode()), key)


def issue(
    authority: Authority,
    common_name: str,
    hosts: Sequence[str] = (),
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> str:
    """Issue a certificate for a server or a client.

    Args:
        authority: signs it.
        common_name: whose it is; as a client's it is User:CN=common_name in Kafka's access lists.
        hosts: the names and addresses of a server.
        valid_from: by default now.
        valid_until: by default VALID from now.

    Returns:
        Its key and the certificate, in PEM form.
    """
    now = datetime.now(timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(
            common_name,
            _common_name(authority.certificate),
            key.public_key(),
            valid_from or now - CLOCK_TOLERANCE,
            valid_until or now + VALID,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(of_authority=False), critical=True)
        # Brokers are clients of each other
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    if hosts:
        names = x509.SubjectAlternativeName(list(map(_general_name, hosts)))
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return _key_pem(key) + certificate.public_bytes(Encoding.PEM).decode()


def is_valid_until(pem: str, moment: datetime, authority: Authority) -> bool:
    """Return whether a certificate of issue() is the authority's, and valid until a moment.

    Args:
        pem: as issue() returned it.
        moment: with its time zone.
        authority: whose it has to be.
    """
    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate.not_valid_after_utc > moment


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePublicKey, valid_from: datetime, valid_until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_until)
    )


def _key_usage(of_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=of_authority,
        crl_sign=of_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
