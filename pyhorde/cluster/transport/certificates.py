"""Certificates for a cluster: an authority of its own, and one that all its nodes can use."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyhorde.config import TlsFiles
from pyhorde.errors import ConfigError

AUTHORITY_DAYS: Final = 3650
EARLY: Final = timedelta(hours=1)
"""Certificates are good from so long before they were made: clocks differ."""
_BEFORE: Final = {
    "digital_signature": False, "content_commitment": False, "key_encipherment": False,
    "data_encipherment": False, "key_agreement": False, "key_cert_sign": False,
    "crl_sign": False, "encipher_only": False, "decipher_only": False,
}  # fmt: skip

Key = ec.EllipticCurvePrivateKey


def init(directory: Path, hosts: tuple[str, ...], days: int) -> tuple[TlsFiles, bool]:
    """Make ``node.crt`` and ``node.key`` for these hosts; and, unless it is there, the authority.

    Returns the three files that a node needs, and whether the authority is new. A node certificate
    that is there is replaced, by one rename each for it and its key. Raises ``ConfigError``.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ca, ca_key = directory / "ca.crt", directory / "ca.key"
        is_new = not (ca.exists() or ca_key.exists())
        authority, signer = _new_authority() if is_new else _known(ca, ca_key)
        if is_new:
            _write(ca_key, _key_bytes(signer), 0o600)
            _write(ca, _pem(authority), 0o644)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(key, hosts, days, authority, signer)
        _write(directory / "node.key", _key_bytes(key), 0o600)
        _write(directory / "node.crt", _pem(certificate), 0o644)
    except OSError as error:
        problem = f"cannot write there: {(error.strerror or str(error)).lower()}"
        raise ConfigError(str(directory), problem) from None
    return TlsFiles(*(str(directory / name) for name in ("node.crt", "node.key", "ca.crt"))), is_new


def _known(ca: Path, ca_key: Path) -> tuple[x509.Certificate, Key]:
    mend = "give an empty directory to begin with a new authority"
    try:
        authority = x509.load_pem_x509_certificate(ca.read_bytes())
        key = serialization.load_pem_private_key(ca_key.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise ConfigError(
            str(error.filename), "the authority's other half is missing", mend
        ) from None
    except ValueError:
        raise ConfigError(str(ca), "it, or its key, cannot be read", mend) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(str(ca_key), "it is of another kind", mend)
    if key.public_key() != authority.public_key():
        raise ConfigError(str(ca_key), f"it is not the key of {ca}", mend)
    return authority, key


def _new_authority() -> tuple[x509.Certificate, Key]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("pyhorde cluster authority")
    usage = x509.KeyUsage(**(_BEFORE | {"key_cert_sign": True, "crl_sign": True}))
    made = (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return made.sign(key, hashes.SHA256()), key


def _signed(
    key: Key, hosts: tuple[str, ...], days: int, authority: x509.Certificate, signer: Key
) -> x509.Certificate:
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = x509.KeyUsage(**(_BEFORE | {"digital_signature": True}))
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = (
        _builder(_name("pyhorde node"), authority.subject, key, days)
        .add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(issuer, critical=False)
    )
    return made.sign(signer, hashes.SHA256())


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise ConfigError("--host", f"{text!r} is neither a name nor an address") from None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_bytes(key: Key) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Put the file there in one step, never readable by more than it may be."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    fresh.replace(path)
