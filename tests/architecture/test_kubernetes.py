"""The Kubernetes manifests: valid by its schemas, of one mind, and in agreement with the code."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import kubernetes_validate
import pytest
from kubernetes_validate.utils import latest_version
from ruamel.yaml import YAML

from pyhorde import cli, settings
from pyhorde.cluster.discovery.schemes import source
from pyhorde.cluster.discovery.source import Surroundings
from pyhorde.cluster.real import RealWorld
from pyhorde.config import RuntimeConfig, split_address
from pyhorde.web import Node
from pyhorde.web.api import Api
from tests.architecture.sources import ROOT

FOLDER = ROOT / "deploy/kubernetes"
HOW_TO = (ROOT / "docs/how-to/run-on-kubernetes.md").read_text(encoding="utf-8")
VARIANTS = {
    "statefulset": "StatefulSet",
    "statefulset-disk": "StatefulSet",
    "deployment": "Deployment",
}
OLDEST = "1.30"
"""The first version with a ``preStop`` that sleeps without a program in the image."""
CLOSING = 4.0
"""Seconds to settle, flush, finish requests and close after a drain: each takes at most 1."""
MARGIN = 10.0

Object = dict[str, Any]


# ---- reading ------------------------------------------------------------------------------------


def documents(path: Path) -> list[Object]:
    """The documents of a file; anchors are copied, so that a change to one stays with it."""
    return [copy.deepcopy(each) for each in YAML(typ="safe", pure=True).load_all(path)]


def built(folder: Path) -> list[Object]:
    """What ``kubectl kustomize`` makes of the folder, as far as these use it: added fields."""
    (recipe,) = documents(folder / "kustomization.yaml")
    known = {"apiVersion", "kind", "namespace", "resources", "patches"}
    assert set(recipe) <= known, recipe
    objects: list[Object] = []
    for name in recipe["resources"]:
        path = folder / name
        objects += built(path) if path.is_dir() else documents(path)
    for patch in recipe.get("patches", ()):
        target = one(objects, patch["target"]["kind"], patch["target"]["name"])
        for step in YAML(typ="safe", pure=True).load(patch["patch"]):
            add(target, step)
    for each in objects:
        assert each["metadata"].get("namespace", recipe["namespace"]) == recipe["namespace"]
    return objects


def add(target: Object, step: Object) -> None:
    assert step["op"] == "add"
    *parents, last = step["path"].removeprefix("/").split("/")
    for key in parents:
        target = target[key]
    assert last not in target
    target[last] = step["value"]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def one(objects: list[Object], kind: str, name: str) -> Object:
    found = of_kind(objects, kind)
    assert name in found, f"there is no {kind} {name!r} among {sorted(found)}"
    return found[name]


BUILT = {name: built(FOLDER / name) for name in VARIANTS}
REHEARSAL = documents(FOLDER / "rehearsal.yaml")
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def workload(variant: str) -> Object:
    return one(BUILT[variant], VARIANTS[variant], "pyhorde")


def pod(variant: str) -> Object:
    template: Object = workload(variant)["spec"]["template"]
    return template


def container(variant: str) -> Object:
    (only,) = pod(variant)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(variant: str) -> dict[str, str]:
    """The variables as the container gets them; fields of the pod by way of an example."""
    namespace = workload(variant)["metadata"]["namespace"]
    pod_fields = {
        "status.podIP": "10.1.2.3",
        "metadata.name": "pyhorde-0",
        "metadata.namespace": namespace,
    }
    found: dict[str, str] = {}
    for each in container(variant)["env"]:
        text = each.get("value") or pod_fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found[m[1]], text)
    return found


def containers_of(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Every pod's spec with each of its containers."""
    for each in objects:
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        for inside in spec.get("containers", ()):
            yield spec, inside


# ---- valid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST, latest_version()])
@pytest.mark.parametrize("what", [*VARIANTS, "rehearsal"])
def test_every_object_fits_the_schema_of_its_kind(what: str, version: str):
    objects = BUILT.get(what, REHEARSAL)
    assert objects
    for each in objects:
        checked = kubernetes_validate.validate(each, version, strict=True)
        assert checked == re.match(r"\d+\.\d+", version)[0]


def test_the_schemas_find_a_misspelt_field():
    broken = copy.deepcopy(workload("deployment"))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_every_file_belongs_to_a_variant_or_is_named_in_the_how_to():
    listed = {
        (path.parent / name).resolve()
        for path in FOLDER.rglob("kustomization.yaml")
        for name in documents(path)[0]["resources"]
    }
    lone = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"} - listed
    assert {path.relative_to(ROOT).as_posix() for path in lone} == {
        "deploy/kubernetes/rehearsal.yaml"
    }
    assert all(path.relative_to(ROOT).as_posix() in HOW_TO for path in lone)


@each_variant
def test_no_object_stands_there_twice(variant: str):
    names = [(each["kind"], each["metadata"]["name"]) for each in BUILT[variant]]
    assert len(set(names)) == len(names)


# ---- of one mind --------------------------------------------------------------------------------


@each_variant
def test_every_selector_finds_the_pods(variant: str):
    labels = pod(variant)["metadata"]["labels"].items()
    objects = BUILT[variant]
    budgets = of_kind(objects, "PodDisruptionBudget").values()
    policies = of_kind(objects, "NetworkPolicy").values()
    selectors = [workload(variant)["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in of_kind(objects, "Service").values()]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in budgets]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in policies]
    spread = pod(variant)["spec"]["topologySpreadConstraints"]
    selectors += [each["labelSelector"]["matchLabels"] for each in spread]
    assert len(selectors) == 7
    for selector in selectors:
        assert selector and selector.items() <= labels


@each_variant
def test_peers_reach_each_other_by_tcp_and_udp_on_the_port_that_is_advertised(variant: str):
    given = environment(variant)
    port = split_address(given["PYHORDE_ADVERTISE"])[1]
    assert split_address(given["PYHORDE_BIND"])[1] == port
    both = {("TCP", port), ("UDP", port)}
    inside = {each["name"]: each for each in container(variant)["ports"]}
    assert {(each["protocol"], each["containerPort"]) for each in inside.values()} == both
    for service in of_kind(BUILT[variant], "Service").values():
        for each in service["spec"]["ports"]:
            target = inside[each["targetPort"]]
            assert (target["protocol"], target["containerPort"]) == (each["protocol"], each["port"])
    peers = one(BUILT[variant], "Service", "pyhorde-peers")["spec"]["ports"]
    assert {(each["protocol"], each["port"]) for each in peers} == both
    (policy,) = of_kind(BUILT[variant], "NetworkPolicy").values()
    among_peers, from_clients = policy["spec"]["ingress"]
    assert {(each["protocol"], each["port"]) for each in among_peers["ports"]} == both
    assert [(each["protocol"], each["port"]) for each in from_clients["ports"]] == [("TCP", port)]


@each_variant
def test_each_node_is_named_like_its_pod_and_advertises_the_address_of_its_pod(variant: str):
    given = environment(variant)
    assert given["PYHORDE_NAME"] == "pyhorde-0"
    assert given["PYHORDE_ADVERTISE"] == "10.1.2.3:7411"
    assert container(variant)["args"] == ["node"]


@pytest.mark.parametrize("variant", ["statefulset", "statefulset-disk"])
def test_dns_names_the_headless_service_which_shows_pods_that_are_not_ready(variant: str):
    url = urlsplit(environment(variant)["PYHORDE_DISCOVERY"])
    assert url.scheme == "k8s" and url.hostname is not None
    name, _, namespace = url.hostname.partition(".")
    service = one(BUILT[variant], "Service", name)
    assert service["metadata"]["namespace"] == namespace
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert url.port in {each["port"] for each in service["spec"]["ports"]}
    assert workload(variant)["spec"]["serviceName"] == name
    assert pod(variant)["spec"]["automountServiceAccountToken"] is False


def test_the_kubernetes_api_is_asked_for_the_pods_that_there_are():
    url = urlsplit(environment("deployment")["PYHORDE_DISCOVERY"])
    assert url.scheme == "k8s+api"
    assert url.hostname == workload("deployment")["metadata"]["namespace"]
    asked = parse_qs(url.query)
    assert set(asked) == {"labels", "port"}
    key, _, value = asked["labels"][0].partition("=")
    assert pod("deployment")["metadata"]["labels"][key] == value
    assert int(asked["port"][0]) in {p["containerPort"] for p in container("deployment")["ports"]}


def test_the_account_of_the_pods_may_get_list_and_watch_pods_and_nothing_else():
    objects, spec = BUILT["deployment"], pod("deployment")["spec"]
    account = one(objects, "ServiceAccount", spec["serviceAccountName"])
    assert spec["automountServiceAccountToken"] is True
    (binding,) = of_kind(objects, "RoleBinding").values()
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
        }
    ]
    role = one(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"]
    (rule,) = role["rules"]
    assert set(rule["verbs"]) == {"get", "list", "watch"}
    assert (rule["apiGroups"], rule["resources"]) == ([""], ["pods"])


@each_variant
def test_pods_have_an_account_that_is_there(variant: str):
    one(BUILT[variant], "ServiceAccount", pod(variant)["spec"]["serviceAccountName"])


@each_variant
def test_every_mount_has_its_volume(variant: str):
    volumes = {each["name"] for each in pod(variant)["spec"]["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in container(variant)["volumeMounts"]}
    assert set(mounts) == volumes
    claims = workload(variant)["spec"].get("volumeClaimTemplates", [])
    assert [each["metadata"]["name"] for each in claims] == ["data"] * (variant.endswith("disk"))
    assert environment(variant).get("PYHORDE_DATA_DIR") == mounts.get("data")


@each_variant
def test_the_secret_is_the_one_that_the_how_to_makes(variant: str):
    made = re.search(r"create secret generic (\S+) .*--from-file=([\w-]+)=", HOW_TO)
    assert made is not None
    (volume,) = (each for each in pod(variant)["spec"]["volumes"] if "secret" in each)
    assert volume["secret"]["secretName"] == made[1]
    # Readable for the group alone, and the user of the image is in it.
    assert volume["secret"]["defaultMode"] == 0o440
    mounts = {each["name"]: each["mountPath"] for each in container(variant)["volumeMounts"]}
    file = environment(variant)["PYHORDE_SECRET_FILE"]
    assert file == f"{mounts[volume['name']]}/{made[2]}"


def test_both_variants_run_the_same_pod_but_for_finding_each_other_and_their_disk():
    pods = []
    for variant in ("statefulset", "deployment"):
        spec = copy.deepcopy(pod(variant))
        inside = spec["spec"]["containers"][0]
        del spec["spec"]["automountServiceAccountToken"]
        for each in spec["spec"]["topologySpreadConstraints"]:
            del each["matchLabelKeys"]
        own = {"PYHORDE_DISCOVERY", "PYHORDE_DATA_DIR"}
        inside["env"] = [each for each in inside["env"] if each["name"] not in own]
        inside["volumeMounts"] = [e for e in inside["volumeMounts"] if e["name"] != "data"]
        spec["spec"]["volumes"] = [e for e in spec["spec"]["volumes"] if e["name"] != "data"]
        pods.append(spec)
    assert pods[0] == pods[1]


# ---- in agreement with the code -----------------------------------------------------------------


@each_variant
def test_every_variable_is_an_option_of_the_node(variant: str):
    known = {settings._variable(key) for key in settings._OPTIONS}
    given = {name for name in environment(variant) if name.startswith("PYHORDE_")}
    assert given - known == set()


@each_variant
def test_the_url_of_discovery_is_one(variant: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    given = environment(variant)
    around = Surroundings(address=given["PYHORDE_ADVERTISE"], world=RealWorld())
    assert callable(source(given["PYHORDE_DISCOVERY"], around).watch)


def test_the_rehearsal_uses_commands_and_variables_that_exist():
    ((_, client),) = containers_of(REHEARSAL)
    known = {
        name
        for param in cli.cli.commands["call"].params
        if isinstance(param, click.Option)
        for name in ([param.envvar] if isinstance(param.envvar, str) else param.envvar or ())
    }
    assert {each["name"] for each in client["env"]} <= known
    address = client["env"][0]["value"]
    service = one(BUILT["deployment"], "Service", split_address(address)[0])
    assert split_address(address)[1] == service["spec"]["ports"][0]["port"]
    (policy,) = of_kind(BUILT["deployment"], "NetworkPolicy").values()
    allowed = policy["spec"]["ingress"][1]["from"][0]["podSelector"]["matchLabels"]
    (job,) = REHEARSAL
    assert job["spec"]["template"]["metadata"]["labels"] == allowed
    assert client["image"] == container("deployment")["image"]


@each_variant
def test_links_of_services_do_not_become_variables_that_look_like_options(variant: str):
    assert pod(variant)["spec"]["enableServiceLinks"] is False


@each_variant
def test_every_probe_asks_a_route_that_there_is_at_the_port_of_the_node(variant: str):
    routes = {path for verb, path, _ in Api(Node(name="a"))._routes if verb == "GET"}
    ports = {each["name"]: each["protocol"] for each in container(variant)["ports"]}
    asked = {
        kind: container(variant)[f"{kind}Probe"]["httpGet"]
        for kind in ("startup", "readiness", "liveness")
    }
    assert {each["path"] for each in asked.values()} <= routes
    assert asked["readiness"]["path"] == "/readyz"
    assert asked["startup"]["path"] == asked["liveness"]["path"] == "/healthz"
    assert {ports[each["port"]] for each in asked.values()} == {"TCP"}


@each_variant
def test_a_stall_that_the_cluster_gets_over_kills_no_node(variant: str):
    probe = container(variant)["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


def grace(variant: str) -> tuple[float, float, float]:
    """Seconds of the grace period, of ``preStop``, and for the drain."""
    before = container(variant)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = environment(variant).get("PYHORDE_DRAIN_TIMEOUT", RuntimeConfig().drain_timeout)
    return pod(variant)["spec"]["terminationGracePeriodSeconds"], before, float(drain)


@each_variant
def test_a_drain_ends_before_the_kubelet_kills(variant: str):
    whole, before, drain = grace(variant)
    assert whole >= before + drain + CLOSING + MARGIN


def test_the_how_to_shows_the_same_arithmetic():
    (row,) = re.findall(r"^ *(\d+) \+ +(\d+) \+ +(\d+) \+ +(\d+) = (\d+)$", HOW_TO, re.MULTILINE)
    before, drain, closing, margin, whole = map(float, row)
    assert before + drain + closing + margin == whole
    assert margin >= MARGIN and closing == CLOSING
    assert drain == RuntimeConfig().drain_timeout
    for variant in VARIANTS:
        assert grace(variant) == (whole, before, drain)


@each_variant
def test_before_a_stop_a_call_has_the_time_that_calls_have(variant: str):
    _, before, _ = grace(variant)
    assert before >= RuntimeConfig().call_timeout


# ---- hardened -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [*VARIANTS, "rehearsal"])
def test_nothing_runs_as_root_writes_to_its_image_or_may_more_than_it_needs(what: str):
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    user = int(re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)[1])
    for spec, inside in containers_of(BUILT.get(what, REHEARSAL)):
        of_pod, of_container = spec["securityContext"], inside["securityContext"]
        assert of_pod["runAsNonRoot"] is True and of_pod["runAsUser"] == user
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_variant
def test_the_cpu_is_asked_for_and_not_limited(variant: str):
    resources = container(variant)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}


def test_one_node_at_a_time_goes_when_machines_are_emptied_or_a_deployment_rolls():
    for variant in VARIANTS:
        (budget,) = of_kind(BUILT[variant], "PodDisruptionBudget").values()
        assert budget["spec"]["maxUnavailable"] == 1
        assert workload(variant)["spec"]["replicas"] > RuntimeConfig().replicas + 1
    strategy = workload("deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert workload("statefulset")["spec"]["podManagementPolicy"] == "Parallel"


@each_variant
def test_the_app_of_the_nodes_is_in_the_image(variant: str):
    package, _, module = environment(variant)["PYHORDE_APP"].rpartition(".")
    assert package == "pyhorde.examples"
    assert (ROOT / "examples" / f"{module}.py").is_file()


@each_variant
def test_the_how_to_applies_every_variant(variant: str):
    assert f"-k deploy/kubernetes/{variant}\n" in HOW_TO
