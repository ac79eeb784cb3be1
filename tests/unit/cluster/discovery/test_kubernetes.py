"""Pods are followed through everything that an API server does to its clients."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pyhorde.cluster.discovery import Discovery, kubernetes, kubernetes_api, source
from tests.unit.cluster.discovery.fake_kubernetes import FakeKubernetes
from tests.unit.cluster.discovery.near import Watcher, near

A, B, C = "10.1.0.1:7411", "10.1.0.2:7411", "10.1.0.3:7411"

Url = Callable[..., str]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "PACE", 0.0)


@pytest.fixture
async def api() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes() as fake:
        yield fake


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("token-1\n")
    return path


@pytest.fixture
def url(api: FakeKubernetes, token: Path) -> Url:
    def make(namespace: str = "shop", **options: Any) -> str:
        given = {"api": api.base, "token-file": token, "labels": "app=horde", **options}
        return f"k8s+api://{namespace}?{urlencode(given)}"

    return make


def write(path: Path, text: str | None) -> None:
    """The file has this text from now on; None removes it."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


def watching(url: str) -> Watcher:
    return Watcher(source(url, near()))


async def test_pods_are_listed_then_watched(api: FakeKubernetes, url: Url):
    api.put("a", "10.1.0.1")
    api.put("other", "10.1.0.9", app="web")
    async with watching(url()) as watcher:
        await watcher.sees(A)
        await api.watched()
        api.put("b", phase="Pending")
        api.put("b", "10.1.0.2", phase="Pending")
        await watcher.sees(A, B)
        api.delete("a")
        await watcher.sees(B)
        api.put("b", "10.1.0.2", app="web")
        await watcher.sees()
    assert len(api.asked("list")) == 1
    (query,) = api.asked("watch")
    assert query["labelSelector"] == "app=horde"
    assert 120 <= int(query["timeoutSeconds"]) <= 180


async def test_a_terminating_pod_stays_until_it_is_gone(api: FakeKubernetes, url: Url):
    api.put("a", "10.1.0.1")
    api.put("b", "10.1.0.2")
    async with watching(url()) as watcher:
        await watcher.sees(A, B)
        await api.watched()
        api.terminate("a")
        api.put("c", "10.1.0.3")
        await watcher.sees(A, B, C)
        api.delete("a")
        await watcher.sees(B, C)
        api.terminate("b")
        api.put("b", "10.1.0.2", phase="Succeeded")
        await watcher.sees(C)
    async with watching(url()) as watcher:
        api.terminate("c")
        await watcher.sees(C)


async def test_long_lists_come_in_pages_of_one_version(
    api: FakeKubernetes, url: Url, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kubernetes, "PAGE", 2)
    for number in range(1, 6):
        api.put(f"pod-{number}", f"10.1.0.{number}")

    def meanwhile() -> None:
        api.between_pages = None
        api.delete("pod-5")

    api.between_pages = meanwhile
    async with watching(url()) as watcher:
        await watcher.sees(*(f"10.1.0.{number}:7411" for number in range(1, 5)))
    assert [len(seen) for seen in watcher.seen] == [5, 5, 4]
    pages = api.asked("list")
    assert [query["limit"] for query in pages] == ["2", "2", "2"]
    assert ["continue" in query for query in pages] == [False, True, True]


async def test_a_list_that_expires_between_its_pages_begins_again(
    api: FakeKubernetes, url: Url, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kubernetes, "PAGE", 1)

    def meanwhile() -> None:
        api.between_pages = None
        api.forget()

    api.put("a", "10.1.0.1")
    api.put("b", "10.1.0.2")
    api.between_pages = meanwhile
    async with watching(url()) as watcher:
        await watcher.sees(A, B)
    assert ["continue" in query for query in api.asked("list")] == [False, True, False, True]


@pytest.mark.parametrize("how", ["end", "cut"])
async def test_a_watch_that_ends_goes_on_from_the_last_version(
    api: FakeKubernetes, url: Url, how: str
):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await api.watched()
        api.put("b", "10.1.0.2")
        await watcher.sees(A, B)
        version = str(api._version)
        getattr(api, how)()
        api.put("c", "10.1.0.3")
        await watcher.sees(A, B, C)
    assert len(api.asked("list")) == 1
    versions = [query["resourceVersion"] for query in api.asked("watch")]
    assert len(versions) == 2
    assert int(versions[1]) >= int(version)


async def test_a_bookmark_moves_the_version_on(api: FakeKubernetes, url: Url):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await api.watched()
        api.bookmark()
        version = str(api._version)
        api.forget()
        api._oldest = int(version)
        api.end()
        await watcher.until(lambda: len(api.asked("watch")) == 2 and len(watcher.seen) >= 3)
    assert api.asked("watch")[1]["resourceVersion"] == version
    assert len(api.asked("list")) == 1


@pytest.mark.parametrize("in_stream", [False, True])
async def test_a_forgotten_version_means_a_new_list(
    api: FakeKubernetes, url: Url, *, in_stream: bool
):
    api.gone_in_stream = in_stream
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await watcher.sees(A)
        await api.watched()
        api.cut()
        await api.watched(by=0)
        api.delete("a")
        api.put("b", "10.1.0.2")
        api.forget()
        await watcher.sees(B)
    assert len(api.asked("list")) == 2


async def test_a_watch_that_is_told_it_expired_lists_again(api: FakeKubernetes, url: Url):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await api.watched()
        api.expire()
        await watcher.until(lambda: len(api.asked("list")) == 2)
        await watcher.sees(A)


async def test_the_token_is_read_anew_for_every_request(api: FakeKubernetes, url: Url, token: Path):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await api.watched()
        write(token, "token-2")
        api.tokens = {"token-2"}
        api.end()
        api.put("b", "10.1.0.2")
        await watcher.sees(A, B)
    assert {given for *_, given in api.requests} == {"token-1", "token-2"}


async def test_a_token_that_is_not_valid_any_more_is_an_error_until_there_is_a_new_one(
    api: FakeKubernetes, url: Url, token: Path
):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await watcher.sees(A)
        await api.watched()
        api.tokens = {"token-2"}
        api.end()
        error = await watcher.fails()
        assert "401" in error.problem
        assert str(token) in error.hint
        write(token, "token-2")
        api.put("b", "10.1.0.2")
        watcher.again()
        await watcher.sees(A, B)
    assert len(api.asked("list")) == 1, "it goes on where it was"


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_missing_right_is_named(api: FakeKubernetes, url: Url, verb: str):
    api.put("a", "10.1.0.1")
    api.refuse(verb, 403, f'pods is forbidden: User "x" cannot {verb} resource "pods"')
    async with watching(url()) as watcher:
        error = await watcher.fails()
        assert f"may not {verb} pods" in error.problem
        assert 'User "x" cannot' in error.problem
        assert f'the verb "{verb}" is missing' in error.hint
        assert "RoleBinding" in error.hint
        assert [set(seen) for seen in watcher.seen] == ([] if verb == "list" else [{A}])


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize(("code", "after"), [(429, "17"), (503, "soon"), (500, "")])
async def test_a_busy_server_says_when_to_come_back(
    api: FakeKubernetes, url: Url, verb: str, code: int, after: str
):
    api.refuse(verb, code, "etcd is busy", Retry_After=after)
    async with watching(url()) as watcher:
        error = await watcher.fails()
        assert f"answers {code}" in error.problem
        assert "etcd is busy" in error.problem
        assert error.retry_after == (17.0 if after == "17" else None)
        watcher.again()
        await watcher.sees()


async def test_redirects_are_not_followed_with_the_token(api: FakeKubernetes, url: Url):
    api.refuse("list", 307, "over there", Location=f"{api.base}/elsewhere")
    async with watching(url()) as watcher:
        assert "answers 307" in (await watcher.fails()).problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"<html>\n", "no JSON object"),
        ({"type": "ADDED", "object": {}}, "without a version"),
        ({"type": "ERROR", "object": {"code": 500, "message": "oh"}}, "an error: oh"),
    ],
)
async def test_what_makes_no_sense_is_an_error_and_all_is_listed_again(
    api: FakeKubernetes, url: Url, line: Any, problem: str
):
    api.put("a", "10.1.0.1")
    async with watching(url()) as watcher:
        await api.watched()
        api.say(line)
        assert problem in (await watcher.fails()).problem
        watcher.again()
        await watcher.until(lambda: len(api.asked("list")) == 2)
        await watcher.sees(A)


async def test_a_list_larger_than_any_is_refused(
    api: FakeKubernetes, url: Url, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kubernetes_api, "MAX_PAGE_BYTES", 1000)
    api.put("a", "10.1.0.1", annotations={"long": "x" * 2000})
    async with watching(url()) as watcher:
        assert "more than 1000 bytes" in (await watcher.fails()).problem


async def test_nobody_at_the_address_is_an_error(api: FakeKubernetes, url: Url):
    async with watching(url(api="http://127.0.0.1:1")) as watcher:
        error = await watcher.fails()
    assert "cannot reach the Kubernetes API at http://127.0.0.1:1" in error.problem


async def test_a_server_that_does_not_answer_is_an_error_of_one_text(
    api: FakeKubernetes, url: Url, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kubernetes_api, "TIMEOUT", 0.2)
    api.silent = True
    async with watching(url()) as watcher:
        error = await watcher.fails()
    assert error.problem.endswith("no answer within 0.2 s")


@pytest.mark.parametrize("content", [None, "", "two\nlines", "näh"])
async def test_a_token_that_cannot_be_one_is_an_error(
    url: Url, token: Path, api: FakeKubernetes, content: str | None
):
    write(token, content)
    async with watching(url()) as watcher:
        assert "token" in (await watcher.fails()).problem
    assert api.requests == []


async def test_without_a_namespace_it_is_the_pods_own(
    api: FakeKubernetes, url: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kubernetes, "ACCOUNT", tmp_path)
    api.put("a", "10.1.0.1")
    async with watching(url("")) as watcher:
        error = await watcher.fails()
        assert "own namespace" in error.problem
        assert "k8s+api://NAMESPACE" in error.hint
        (tmp_path / "namespace").write_text("Not/one")
        watcher.again()
        assert "no namespace in" in (await watcher.fails()).problem
        (tmp_path / "namespace").write_text("shop\n")
        watcher.again()
        await watcher.sees(A)


async def test_port_and_labels_are_as_the_url_says(api: FakeKubernetes, url: Url):
    api.put("a", "10.1.0.1")
    api.put("b", "fd00::2", app="web")
    async with watching(url(port=7500, labels="")) as watcher:
        await watcher.sees("10.1.0.1:7500", "[fd00::2]:7500")
    assert "labelSelector" not in api.asked("list")[0]


async def test_discovery_waits_as_long_as_the_server_wishes_and_then_knows(
    api: FakeKubernetes, url: Url
):
    api.put("a", "10.1.0.1")
    api.refuse("list", 429, "too many requests", Retry_After="1")
    found: list[frozenset[str]] = []
    discovery = Discovery([url()], near(), lambda _, addresses: found.append(addresses))
    await discovery.start()
    assert await discovery.first(30.0)
    assert discovery.figures[url()].errors == 1
    await api.watched()
    assert found == [{A}]
    await discovery.aclose()


# ---- TLS ----------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    more = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [*words.split(), *more, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_the_server_has_to_prove_who_it_is_before_it_sees_the_token(
    token: Path, tmp_path: Path
):
    cert, key = certificate(tmp_path, "api")
    other, _ = certificate(tmp_path, "other")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    async with FakeKubernetes(tls=tls) as api:
        options = {"api": api.base, "token-file": token, "ca-file": other}
        async with watching(f"k8s+api://shop?{urlencode(options)}") as watcher:
            assert "certificate" in (await watcher.fails()).problem.lower()
        assert api.requests == []
        options["ca-file"] = cert
        api.put("a", "10.1.0.1")
        async with watching(f"k8s+api://shop?{urlencode(options)}") as watcher:
            await watcher.sees(A)


async def test_a_certificate_that_cannot_be_read_is_an_error(token: Path, tmp_path: Path):
    (tmp_path / "empty.crt").write_text("")
    for name in ("empty.crt", "missing.crt"):
        options = {"api": "https://127.0.0.1:1", "token-file": token, "ca-file": tmp_path / name}
        async with watching(f"k8s+api://shop?{urlencode(options)}") as watcher:
            error = await watcher.fails()
        assert "cannot read the certificate" in error.problem
        assert "ca-file" in error.hint
