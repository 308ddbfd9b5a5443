"""Certificates of the transport: one root for a consortium, requests made where the keys are.

They say that a line is encrypted and who is at its end. What a retailer's summand is masked with
rests on its identity key and the roster, not on them.

RSA, because FLARE 2.9 signs its jobs with the key of the transport and knows no other kind.
X.509: Cooper et al., 2008, https://www.rfc-editor.org/rfc/rfc5280
PKCS 10: Nystrom and Kaliski, 2000, https://www.rfc-editor.org/rfc/rfc2986
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.x509.oid import NameOID

from grandtotal.durable import write_private
from grandtotal.errors import PlanError
from grandtotal.privacy.identity import refuse_readable

KEY_BITS = 3072
ROLE = NameOID.UNSTRUCTURED_NAME  # where FLARE looks for the role of whoever submits jobs
_SKEW = timedelta(days=1)  # a clock that is late by less still finds a new certificate valid


@dataclass(frozen=True)
class Root:
    """The root of one consortium: its certificate and the key that signs the others."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """Returns the certificate that every party trusts."""
        return pem_of(self.certificate)


def make_key(path: Path) -> RSAPrivateKey:
    """Writes a new private key that only its owner may read, and returns it."""
    key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )
    return key


def read_key(path: Path) -> RSAPrivateKey:
    """Returns the private key in a file; PlanError if it is none or others may read it."""
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise PlanError(
            f"{path}: the key cannot be read ({error.strerror}); `grandtotal retailer certificate` "
            f"makes a retailer's"
        ) from None
    refuse_readable(path, mode)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise PlanError(f"{path}: no RSA private key; move it away and make another")
    return key


def request(key: RSAPrivateKey, name: str) -> bytes:
    """Returns the request for a certificate in this name, as PEM: it holds no secret."""
    made = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_request(path: Path, name: str) -> RSAPublicKey:
    """Returns the public key that a request holds; PlanError unless it is signed and of `name`."""
    try:
        found = x509.load_pem_x509_csr(path.read_bytes())
    except FileNotFoundError:
        raise PlanError(
            f"{path}: no such file; '{name}' makes it with `grandtotal retailer certificate`"
        ) from None
    except ValueError as error:
        raise PlanError(f"{path}: no request for a certificate ({error})") from None
    public = found.public_key()
    if not found.is_signature_valid or not isinstance(public, RSAPublicKey):
        raise PlanError(f"{path}: the request is not signed with its own RSA key; ask for another")
    if name_in(found.subject) != name:
        raise PlanError(f"{path}: a request of '{name_in(found.subject)}', expected '{name}'")
    return public


def make_root(name: str, key: RSAPrivateKey, days: int) -> Root:
    """Returns a root that vouches for itself."""
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    built = (
        _builder(_name(name), _name(name), key.public_key(), key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Root(built.sign(key, hashes.SHA256()), key)


def issue(
    root: Root,
    name: str,
    public: RSAPublicKey,
    days: int,
    hosts: tuple[str, ...] = (),
    role: str = "",
) -> bytes:
    """Returns a certificate as PEM. hosts: names or addresses under which a server is reached."""
    subject = _name(name, role)
    built = _builder(subject, root.certificate.subject, public, root.key, days)
    names = x509.SubjectAlternativeName([_host(host) for host in hosts or (name,)])
    signed = built.add_extension(names, critical=False).sign(root.key, hashes.SHA256())
    return pem_of(signed)


def read_certificate(path: Path) -> x509.Certificate:
    """Returns the certificate in a file; PlanError if there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise PlanError(f"{path}: the certificate cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise PlanError(f"{path}: no certificate ({error})") from None


def signed_by_root(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Returns whether the root signed a certificate."""
    public, how = root.public_key(), certificate.signature_hash_algorithm
    assert isinstance(public, RSAPublicKey)
    assert how is not None
    try:
        public.verify(certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), how)
    except InvalidSignature:
        return False
    return True


def of_key(certificate: x509.Certificate, key: RSAPrivateKey) -> bool:
    """Returns whether a certificate is of the public half of this key."""
    public = certificate.public_key()
    assert isinstance(public, RSAPublicKey)
    return public.public_numbers() == key.public_key().public_numbers()


def days_left(certificate: x509.Certificate, now: datetime | None = None) -> int:
    """Returns for how many whole days it is valid yet; negative after its end."""
    return (certificate.not_valid_after_utc - (now or datetime.now(UTC))).days


def name_in(subject: x509.Name) -> str:
    """Returns the common name, "" where there is none."""
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def pem_of(certificate: x509.Certificate) -> bytes:
    """Returns a certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: RSAPublicKey, key: RSAPrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )


def _name(name: str, role: str = "") -> x509.Name:
    parts = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, name)]
    return x509.Name(
        [
            x509.NameAttribute(oid, value)
            for oid, value in [*parts, *([(ROLE, role)] if role else [])]
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
