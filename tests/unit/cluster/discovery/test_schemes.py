"""A URL leads to its source, or to an error that says how to mend it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from pyhorde.cluster.discovery import schemes, source
from pyhorde.cluster.discovery.file import File
from pyhorde.cluster.discovery.hosts import Hosts
from pyhorde.cluster.discovery.kubernetes import Kubernetes
from pyhorde.cluster.discovery.multicast import Multicast
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.cluster.discovery.srv import Srv
from pyhorde.cluster.discovery.static import Static
from pyhorde.errors import ConfigError
from tests.unit.cluster.discovery.near import near, refused


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("static://10.0.0.5:7411,[::1]:7411", Static),
        ("file:///etc/pyhorde/peers", File),
        ("dns://horde.example.com:7411?interval=30", Hosts),
        ("dns://[::1]", Hosts),
        ("DNS://horde.example.com", Hosts),
        ("dns+srv://_pyhorde._tcp.example.com?nameserver=127.0.0.1:8600", Srv),
        ("dns+srv://_pyhorde._tcp.example.com?nameserver=[::1]", Srv),
        ("k8s://horde.default", Hosts),
        ("k8s://horde.default:7500?domain=cluster.example", Hosts),
        ("k8s+api://default?labels=app=x,tier=y&port=7500&api=https://10.0.0.1:443", Kubernetes),
        ("k8s+api://?api=https://10.0.0.1", Kubernetes),
        ("multicast://239.255.74.11:7474?ttl=2&interface=10.0.0.5", Multicast),
        ("multicast://", Multicast),
    ],
)
def test_each_scheme_leads_to_its_source(url: str, kind: type):
    assert isinstance(source(url, near()), kind)


@pytest.mark.parametrize(
    ("url", "problem", "hint"),
    [
        ("10.0.0.5:7411", "no URL", "for example dns://"),
        ("statik://a:1", "no scheme 'statik'", "did you mean static?"),
        ("zookeeper://a:1", "no scheme 'zookeeper'", "there are static, file, dns"),
        ("static://", "no address", "for example"),
        ("static://a:1,b", "HOST:PORT", ""),
        ("static://a:1?ttl=3", "no option 'ttl'", "it takes none"),
        ("file://peers", "no absolute path", "file:///etc"),
        ("dns://", "no host", "for example"),
        ("dns://::1", "neither a name nor an address", "brackets"),
        ("dns://a:7411?intervall=3", "no option 'intervall'", "did you mean interval?"),
        ("dns://a:7411?interval=soon", "is no number", ""),
        ("dns://a:7411?interval=0", "does not lie between", ""),
        ("dns://a:7411?interval=nan", "does not lie between", ""),
        ("dns://a:7411?interval=3&interval=4", "given twice", ""),
        ("dns+srv://example.com", "no _SERVICE._PROTO.NAME", "for example"),
        ("dns+srv://_a._tcp.b?nameserver=ns.example.com", "no IP:PORT", "for example"),
        ("k8s://horde", "no SERVICE.NAMESPACE", "k8s://horde.default"),
        ("k8s://horde.default.svc", "no SERVICE.NAMESPACE", ""),
        ("k8s://Horde.default", "no SERVICE.NAMESPACE", ""),
        ("k8s://a.b?domain=x/y", "neither a name", ""),
        ("k8s+api://De_fault?api=https://x", "is no namespace", "the pod's own"),
        ("k8s+api://default?api=ftp://x", "is no HTTP address", ""),
        ("k8s+api://default?api=https://x&port=0", "does not lie between 1 and 65535", ""),
        ("k8s+api://default?api=https://x&port=1.5", "no whole number", ""),
        ("k8s+api://default?label=x", "no option 'label'", "did you mean labels?"),
        ("multicast://10.0.0.5:7474", "no IPv4 multicast group", "for example"),
        ("multicast://[ff02::1]:7474", "no IPv4 multicast group", ""),
        ("multicast://?interface=eth0", "no IPv4 address", "its own"),
        ("multicast://?ttl=256", "does not lie between 0 and 255", ""),
    ],
)
def test_a_wrong_url_is_refused_with_a_mend(url: str, problem: str, hint: str):
    error = refused(lambda: source(url, near()))
    assert error.option == "discovery"
    assert problem in error.problem
    assert hint in error.hint


def test_outside_of_a_pod_its_api_has_to_be_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    error = refused(lambda: source("k8s+api://default", near()))
    assert "this is no pod" in error.problem
    assert "api=https://" in error.hint


@pytest.mark.parametrize(
    ("host", "port", "base"),
    [
        ("10.96.0.1", "443", "https://10.96.0.1:443"),
        ("fd00::1", "6443", "https://[fd00::1]:6443"),
        ("10.96.0.1", "", "https://10.96.0.1:443"),
    ],
)
def test_in_a_pod_kubernetes_says_where_its_api_is(
    host: str, port: str, base: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    made: Any = source("k8s+api://default", near())
    assert made._access.base == base


def test_srv_without_dnspython_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    error = refused(lambda: source("dns+srv://_pyhorde._tcp.example.com", near()))
    assert "dnspython" in error.problem
    assert error.hint == "pip install 'pyhorde[dns]'"


# ---- plug-ins -----------------------------------------------------------------------------------


class Printed:
    """A source as somebody else may write it."""

    def __init__(self, url: str, surroundings: Surroundings) -> None:
        self.url = url

    async def watch(self) -> AsyncIterator[frozenset[str]]:
        yield frozenset({"a:1"})


def breaks(url: str, surroundings: Surroundings) -> Printed:
    raise RuntimeError("out of paper")


def declines(url: str, surroundings: Surroundings) -> Printed:
    raise ConfigError("discovery", "no printer", "buy one")


def nothing(url: str, surroundings: Surroundings) -> None:
    return None


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"printed": "Printed", "breaks": "breaks", "declines": "declines", "void": "nothing"}
    found = [
        EntryPoint(name, f"{__name__}:{value}", schemes.GROUP) for name, value in names.items()
    ]
    found.append(EntryPoint("lost", "no_such_module:Source", schemes.GROUP))
    found.append(EntryPoint("static", f"{__name__}:Printed", schemes.GROUP))
    monkeypatch.setattr(schemes, "entry_points", lambda group: found if "pyhorde" in group else [])


@pytest.mark.usefixtures("plugged")
def test_a_plug_in_adds_a_scheme_and_gets_the_url():
    made: Any = source("printed://somewhere?x=1", near())
    assert made.url == "printed://somewhere?x=1"
    assert asyncio.run(anext(made.watch())) == {"a:1"}


@pytest.mark.usefixtures("plugged")
def test_a_plug_in_does_not_replace_what_is_built_in():
    assert isinstance(source("static://a:1", near()), Static)


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("breaks://x", "failed: RuntimeError: out of paper"),
        ("lost://x", "failed: ModuleNotFoundError"),
        ("void://x", "made no source, but a NoneType"),
        ("declines://x", "no printer"),
        ("printd://x", "no scheme 'printd'"),
    ],
)
def test_a_plug_in_that_does_not_work_is_a_wrong_setting(url: str, problem: str):
    assert problem in refused(lambda: source(url, near())).problem
