"""TLS contexts made of three files: a certificate with its key, and the authority behind all.

Peers are mutual: who dials shows its certificate, and checks that the one that answers was made by
the same authority for the address that was dialled. Clients of the API need none of their own.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pyhorde.config import TlsFiles
from pyhorde.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """What speaks TLS with whoever connects, and with whoever is dialled."""

    serving: ssl.SSLContext
    dialling: ssl.SSLContext


def contexts(files: TlsFiles, now: datetime | None = None) -> TlsContexts:
    """Read the files. Raises ``ConfigError`` for what nobody could be served with."""
    _check(files, now or datetime.now(UTC))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.verify_mode = ssl.CERT_OPTIONAL  # peers have to, which is checked where they upgrade
    dialling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (serving, dialling):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(files.cert, files.key, password=_no_password)
        except ssl.SSLError as error:
            problem = f"{files.key} is not the key of {files.cert} ({error.reason})"
            raise ConfigError("tls_key", problem, "give the two that were made together") from None
        context.load_verify_locations(files.ca)
    return TlsContexts(serving, dialling)


def for_client(ca: str, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """What a client of the API speaks with nodes that this authority stands behind."""
    _ = _certificates("tls_ca", ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    if cert is not None:
        context.load_cert_chain(cert, key, password=_no_password)
    return context


def _no_password() -> str:
    return ""


def _check(files: TlsFiles, now: datetime) -> None:
    certificate = _certificates("tls_cert", files.cert)[0]
    authorities = _certificates("tls_ca", files.ca)
    _ = _bytes("tls_key", files.key)
    mend = "make a new one with: pyhorde certs init DIR"
    if now > certificate.not_valid_after_utc:
        when = certificate.not_valid_after_utc.date()
        raise ConfigError("tls_cert", f"{files.cert} was good until {when}", mend)
    if now < certificate.not_valid_before_utc:
        when = certificate.not_valid_before_utc.date()
        raise ConfigError("tls_cert", f"{files.cert} is good from {when} on", "check the clock")
    if not any(_is_issuer(authority, certificate) for authority in authorities):
        problem = f"{files.cert} was not made by the authority in {files.ca}"
        raise ConfigError("tls_ca", problem, "all nodes need certificates of one authority")


def _is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _certificates(option: str, path: str) -> list[x509.Certificate]:
    data = _bytes(option, path)
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(option, f"{path} holds no certificate in PEM form") from None
    return found


def _bytes(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(option, f"cannot read {path}: {reason}") from None
