"""The image and the compose file: valid, and in agreement with the code they start."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from pyhorde import cli
from pyhorde.config import RuntimeConfig
from pyhorde.settings import read_secrets

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
SCRIPTS = Path(sysconfig.get_path("scripts"))

compose = YAML(typ="safe", pure=True).load(COMPOSE)
SERVICES = compose["services"]
NODES = [name for name in SERVICES if name.startswith("node-")]


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seconds(duration: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+)([hms])", duration)
    assert "".join(n + unit for n, unit in parts) == duration, duration
    return float(sum(int(n) * units[unit] for n, unit in parts))


def instructions(name: str) -> list[str]:
    """The arguments of every ``name`` instruction of the Dockerfile, continued lines joined."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(name + " ")]


def variables(command: click.Command) -> set[str]:
    """The environment variables that the command's options read."""
    flags = {
        flag
        for option in command.params
        if isinstance(option, click.Option)
        for flag in option.opts
        if flag.startswith("--")
    }
    return {"PYHORDE_" + flag.removeprefix("--").replace("-", "_").upper() for flag in flags}


def test_compose_file_fits_the_specification():
    run(
        *(sys.executable, "-m", "check_jsonschema"),
        *("--builtin-schema", "vendor.compose-spec", COMPOSE),
    )


def test_dockerfile_has_no_finding():
    run(SCRIPTS / "hadolint", DOCKERFILE)


def test_there_are_three_nodes_and_each_names_itself_and_all_peers():
    assert len(NODES) == 3
    for name in NODES:
        given = SERVICES[name]["environment"]
        assert given["PYHORDE_NAME"] == name
        assert given["PYHORDE_ADVERTISE"] == f"{name}:7411"
        assert given["PYHORDE_PEERS"].split(",") == [f"{peer}:7411" for peer in NODES]


@pytest.mark.parametrize("name", NODES)
def test_a_stop_waits_longer_than_a_drain_may_take(name: str):
    given = SERVICES[name]["environment"]
    drain = float(given.get("PYHORDE_DRAIN_TIMEOUT", RuntimeConfig().drain_timeout))
    assert seconds(SERVICES[name]["stop_grace_period"]) >= drain + 10


def test_signals_reach_the_command_because_no_shell_stands_before_it():
    (entrypoint,) = instructions("ENTRYPOINT")
    (command,) = instructions("CMD")
    assert json.loads(entrypoint) == ["pyhorde"]
    assert json.loads(command) == ["node"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    for name, service in SERVICES.items():
        assert "entrypoint" not in service or name == "secret"
        assert isinstance(service.get("command", []), list)


def test_nothing_runs_as_root_or_writes_to_its_image():
    assert instructions("USER") == ["10001"]
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_nodes_are_published_to_this_machine_only():
    published = [port for name in NODES for port in SERVICES[name]["ports"]]
    assert published == [f"127.0.0.1:{port}:7411" for port in (7411, 7412, 7413)]


@pytest.mark.parametrize("name", NODES)
def test_ready_is_what_the_health_check_asks(name: str):
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[0] == "CMD"
    assert "http://127.0.0.1:7411/readyz" in test[-1]
    (in_image,) = instructions("HEALTHCHECK")
    assert "/readyz" in in_image


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_variable_is_an_option_of_the_command_it_is_given_to(name: str):
    service = SERVICES[name]
    if "entrypoint" in service:
        pytest.skip("it runs no command of pyhorde")
    words = service.get("command") or json.loads(instructions("CMD")[0])
    known = variables(cli.cli.commands[words[0]])
    given = {key for key in service["environment"] if key.startswith("PYHORDE_")}
    assert given <= known, sorted(given - known)


def test_the_secret_is_made_at_the_first_start_and_kept(tmp_path: Path):
    maker = SERVICES["secret"]
    assert maker["entrypoint"] == ["python", "-c"]
    (program,) = maker["command"]
    program = program.replace("/run/pyhorde", str(tmp_path))
    path = tmp_path / "cluster-secret"
    for _ in range(2):
        run(sys.executable, "-c", program)
        (secret,) = read_secrets([path])
        assert path.stat().st_mode & 0o777 == 0o600
    run(sys.executable, "-c", program)
    assert read_secrets([path]) == (secret,), "it is made once"
    for name in NODES:
        assert SERVICES[name]["volumes"] == ["secret:/run/pyhorde:ro"]
        assert SERVICES[name]["depends_on"]["secret"]["condition"].endswith("successfully")
        given = SERVICES[name]["environment"]
        assert given["PYHORDE_SECRET_FILE"] == "/run/pyhorde/cluster-secret"
    assert maker["volumes"] == ["secret:/run/pyhorde"]
    assert "secret" in compose["volumes"]


def test_the_app_of_the_nodes_is_in_the_image():
    for name in NODES:
        package, _, module = SERVICES[name]["environment"]["PYHORDE_APP"].rpartition(".")
        assert package == "pyhorde.examples"
        assert (ROOT / "examples" / f"{module}.py").is_file()
