"""Certificates: what is made, and what is refused."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pyhorde.cluster.transport import certificates, tls
from pyhorde.config import TlsFiles
from pyhorde.errors import ConfigError


def made(folder: Path, *hosts: str, days: int = 30) -> TlsFiles:
    return certificates.init(folder, hosts or ("localhost", "127.0.0.1"), days)[0]


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Whether both agree; and whether the client showed a certificate."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(back, there, server_hostname=name)
    far = server.wrap_bio(there, back, server_side=True)
    for _ in range(10):
        for end in (near, far):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return bool(far.getpeercert())


def test_what_is_made_is_enough_for_peers_and_clients(tmp_path: Path):
    files = made(tmp_path, "localhost", "node.example", "10.0.0.5", "::1")
    contexts = tls.contexts(files)
    for name in ("localhost", "node.example", "10.0.0.5", "::1"):
        assert shaken(contexts.serving, contexts.dialling, name)
    assert not shaken(contexts.serving, tls.for_client(files.ca), "localhost")
    assert shaken(contexts.serving, tls.for_client(files.ca, files.cert, files.key), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(contexts.serving, contexts.dialling, "other.example")


def test_who_has_a_certificate_of_another_authority_is_no_peer(tmp_path: Path):
    ours, theirs = tls.contexts(made(tmp_path / "a")), tls.contexts(made(tmp_path / "b"))
    with pytest.raises(ssl.SSLError):
        shaken(ours.serving, theirs.dialling, "localhost")
    with pytest.raises(ssl.SSLError):
        shaken(theirs.serving, ours.dialling, "localhost")


def test_keys_are_for_their_owner_alone(tmp_path: Path):
    made(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "node.crt": 0o644, "node.key": 0o600}


def test_a_second_time_the_authority_stays_and_the_nodes_get_a_new_one(tmp_path: Path):
    before = made(tmp_path)
    old = tls.contexts(before)
    authority, node = Path(before.ca).read_bytes(), Path(before.cert).read_bytes()
    _, is_new = certificates.init(tmp_path, ("localhost",), 30)
    assert not is_new
    assert Path(before.ca).read_bytes() == authority
    assert Path(before.cert).read_bytes() != node
    assert shaken(old.serving, tls.contexts(before).dialling, "localhost")


@pytest.mark.parametrize("gone", ["ca.crt", "ca.key"])
def test_half_an_authority_is_not_written_over(tmp_path: Path, gone: str):
    made(tmp_path)
    (tmp_path / gone).unlink()
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="other half is missing"):
        made(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_an_authority_that_cannot_be_read_is_not_written_over(tmp_path: Path):
    made(tmp_path)
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(ConfigError, match="cannot be read"):
        made(tmp_path)
    made(tmp_path / "other")
    (tmp_path / "ca.key").write_bytes((tmp_path / "other/ca.key").read_bytes())
    with pytest.raises(ConfigError, match="is not the key"):
        made(tmp_path)


def test_a_host_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="neither a name nor an address"):
        made(tmp_path, "nöde")


def wrong(files: TlsFiles, **now: datetime) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        tls.contexts(files, **now)
    return raised.value


def test_what_nobody_could_be_served_with_is_refused_by_name(tmp_path: Path):
    files, other = made(tmp_path / "a"), made(tmp_path / "b")
    foreign = wrong(TlsFiles(files.cert, files.key, other.ca))
    assert "was not made by the authority" in foreign.problem
    assert "is not the key of" in wrong(TlsFiles(files.cert, other.key, files.ca)).problem
    assert "cannot read" in wrong(TlsFiles(str(tmp_path / "none"), files.key, files.ca)).problem
    assert "no certificate in PEM" in wrong(TlsFiles(files.key, files.key, files.ca)).problem
    assert wrong(TlsFiles(files.cert, str(tmp_path / "none"), files.ca)).option == "tls_key"


def test_a_certificate_that_is_not_good_now_is_refused_with_its_date(tmp_path: Path):
    files = made(tmp_path, days=30)
    late = wrong(files, now=datetime.now(UTC) + timedelta(days=31))
    assert "was good until" in late.problem and "pyhorde certs init" in late.hint
    early = wrong(files, now=datetime.now(UTC) - timedelta(days=1))
    assert "is good from" in early.problem


def test_what_is_made_says_what_it_is_for(tmp_path: Path):
    files = made(tmp_path)
    node = x509.load_pem_x509_certificate(Path(files.cert).read_bytes())
    authority = x509.load_pem_x509_certificate(Path(files.ca).read_bytes())
    assert not node.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
