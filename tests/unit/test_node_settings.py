"""How a node is told where its peers are, what it is, and who counts: every way to say it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyhorde import cli, settings
from pyhorde.config import MAX_LABELS, MembershipConfig, NodeConfig
from pyhorde.errors import ConfigError

Write = Callable[[str], Path]


def load(
    file: Path | None = None, /, env: dict[str, str] | None = None, **flags: Any
) -> NodeConfig:
    if file is not None:
        flags["config"] = str(file)
    return settings.load(flags, env or {}).config


def wrong(*args: Any, **kwargs: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    return caught.value


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PYHORDE_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "horde.toml"
        path.write_text(text)
        return path

    return write


# ---- discovery ----------------------------------------------------------------------------------

DNS, FILE = "dns://horde.internal:7411", "file:///etc/peers?a=1,2"


def test_sources_come_from_flags_a_variable_or_the_file(write: Write):
    file = write(f'discovery = ["{DNS}", "{FILE}"]')
    assert load().discovery == ()
    assert load(file).discovery == (DNS, FILE)
    assert load(file, {"PYHORDE_DISCOVERY": DNS}).discovery == (DNS,)
    assert load(file, {"PYHORDE_DISCOVERY": DNS}, discovery=(FILE,)).discovery == (FILE,)


def test_a_comma_may_be_part_of_a_url_and_white_space_may_not():
    several = f"  {DNS} {FILE}\n{DNS}-2 "
    assert load(env={"PYHORDE_DISCOVERY": several}).discovery == (DNS, FILE, f"{DNS}-2")
    assert load(discovery=(FILE, DNS)).discovery == (FILE, DNS)


def test_sources_come_besides_the_configured_peers():
    config = load(discovery=(DNS,), peers=("127.0.0.1:1",))
    assert (config.discovery, config.peers) == ((DNS,), ("127.0.0.1:1",))


@pytest.mark.parametrize("text", ['discovery = "dns://x"', "discovery = [1]"])
def test_sources_in_the_file_are_a_list(write: Write, text: str):
    file = write(text)
    error = wrong(file)
    assert error.option == f"{file}:discovery"
    assert error.problem.startswith("must be a list of texts")


# ---- members ------------------------------------------------------------------------------------


def test_members_come_from_flags_a_variable_or_the_file(write: Write):
    file = write('members = ["a", "b"]')
    assert load().members == ()
    assert load(file).members == ("a", "b")
    assert load(file, {"PYHORDE_MEMBERS": "c, d"}).members == ("c", "d")
    assert load(file, {"PYHORDE_MEMBERS": "c,d"}, members=("e,f", "g")).members == ("e", "f", "g")


def test_auto_takes_back_what_a_weaker_place_says(write: Write):
    file = write('members = ["a", "b"]')
    assert load(file, members=("auto",)).members == ()
    assert load(file, {"PYHORDE_MEMBERS": "auto"}).members == ()
    assert load(write('members = ["auto"]')).members == ()
    assert load(members=("auto", "a")).members == ("auto", "a")


def test_a_member_that_no_node_can_be_is_refused_where_it_was_written(write: Write):
    assert wrong(members=("a,b c",)).option == "--members"
    assert wrong(env={"PYHORDE_MEMBERS": "-a"}).option == "PYHORDE_MEMBERS"
    file = write('members = ["a:1"]')
    error = wrong(file)
    assert error.option == f"{file}:members"
    assert "'a:1' cannot name a node" in error.problem


# ---- labels -------------------------------------------------------------------------------------

LABELS = (("zone", "eu-1"), ("disk", "fast"))


def test_labels_come_from_flags_a_variable_or_the_file(write: Write):
    file = write('labels = { zone = "eu-1", disk = "fast" }')
    assert load().labels == ()
    assert load(file).labels == LABELS
    assert load(write('[labels]\nzone = "eu-1"\ndisk = "fast"')).labels == LABELS
    assert load(env={"PYHORDE_LABEL": "zone=eu-1, disk=fast"}).labels == LABELS
    assert load(file, labels=("rack=7",)).labels == (("rack", "7"),)
    assert load(labels=("zone=eu-1", "disk=fast")).labels == LABELS


@pytest.mark.parametrize(
    ("text", "label"), [("a=", ("a", "")), ("a=b=c", ("a", "b=c")), ("a b= c", ("a b", " c"))]
)
def test_what_follows_the_first_equals_sign_is_the_value(text: str, label: tuple[str, str]):
    assert load(labels=(text,)).labels == (label,)


@pytest.mark.parametrize("text", ["zone", "=eu-1", "zone=eu-1,disk"])
def test_a_label_without_a_key_or_a_value_is_refused(text: str):
    for error in (wrong(labels=(text,)), wrong(env={"PYHORDE_LABEL": text})):
        assert error.option in ("--label", "PYHORDE_LABEL")
        assert error.problem == "must be KEY=VALUE, such as zone=eu-1"


@pytest.mark.parametrize("text", ['labels = ["zone=eu-1"]', "labels = { rack = 7 }", "labels = 1"])
def test_labels_in_the_file_are_a_table_of_texts(write: Write, text: str):
    file = write(text)
    error = wrong(file)
    assert error.option == f"{file}:labels"
    assert error.problem.startswith("must be a table of texts")


@pytest.mark.parametrize(
    "labels",
    [
        ("a=1", "a=2"),
        tuple(f"key-{n}=" for n in range(MAX_LABELS + 1)),
        ("k" * 257 + "=v",),
        ("k=" + "v" * 257,),
    ],
    ids=["twice", "too many", "long key", "long value"],
)
def test_labels_are_bounded_and_keys_are_given_once(labels: tuple[str, ...]):
    assert wrong(labels=labels).option == "--label"


def test_the_largest_labels_are_taken():
    most = tuple((f"{n:03}" + "k" * 253, "v" * 256) for n in range(MAX_LABELS))
    assert NodeConfig(name="a", labels=most).labels == most


@pytest.mark.parametrize(
    "labels",
    [
        {"zone": "eu-1"},
        [("zone", "eu-1")],
        ("zone",),
        (("zone", 1),),
        (("a", "b", "c"),),
        (("", "x"),),
    ],
)
def test_labels_in_code_are_pairs_of_texts(labels: Any):
    with pytest.raises(ConfigError, match="labels"):
        NodeConfig(name="a", labels=labels)


# ---- the data directory -------------------------------------------------------------------------


def test_the_data_directory_comes_from_a_flag_a_variable_or_the_file(write: Write, tmp_path: Path):
    assert load().data_dir is None
    file = write('data_dir = "data"')
    assert load(file).data_dir == str(tmp_path / "data")
    assert load(write('data_dir = "/var/lib/horde"')).data_dir == "/var/lib/horde"
    assert load(file, {"PYHORDE_DATA_DIR": "elsewhere"}).data_dir == "elsewhere"
    assert load(file, {"PYHORDE_DATA_DIR": "elsewhere"}, data_dir="here").data_dir == "here"


def test_the_data_directory_in_the_file_is_a_text(write: Write):
    file = write("data_dir = 5")
    assert wrong(file).option == f"{file}:data_dir"


# ---- how long a stall may be --------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_stall_limit_within_one_probe_interval_is_refused(write: Write, limit: float):
    file = write(f"[membership]\nstall_limit = {limit}")
    assert wrong(file).option == f"{file}:membership.stall_limit"


def test_the_presets_allow_their_stalls():
    for preset in (MembershipConfig(), MembershipConfig.local(), MembershipConfig.wan()):
        assert preset.stall_limit > preset.probe_interval
    assert load(env={"PYHORDE_PROFILE": "wan"}).membership.stall_limit == 60.0


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """What ``pyhorde node`` hands on of its options."""

    def flags(*args: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def take(given: dict[str, Any]) -> None:
            found.update(given)
            raise ConfigError("here", "enough")

        monkeypatch.setattr("pyhorde.settings.load", take)
        result = CliRunner().invoke(cli.cli, ["node", *args], prog_name="pyhorde")
        assert result.exit_code == 2, result.output
        return {key: value for key, value in found.items() if value not in (None, ())}

    return flags


@pytest.mark.parametrize(
    ("args", "given"),
    [
        ((), {}),
        (("--discovery", DNS, "--discovery", FILE), {"discovery": (DNS, FILE)}),
        (("--members", "a,b", "--members", "c"), {"members": ("a,b", "c")}),
        (("--members", "auto"), {"members": ("auto",)}),
        (("--label", "zone=eu-1", "--label", "a=b"), {"labels": ("zone=eu-1", "a=b")}),
        (("--data-dir", "/data"), {"data_dir": "/data"}),
    ],
)
def test_the_command_hands_its_options_on(
    flags: Callable[..., dict[str, Any]], args: tuple[str, ...], given: dict[str, Any]
):
    assert flags(*args) == given


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("--label", "zone"), "--label"),
        (("--members", "a b"), "--members"),
        (("--label", "a=1", "--label", "a=2"), "--label"),
    ],
)
def test_a_wrong_option_ends_the_command_with_its_name(args: tuple[str, ...], option: str):
    result = CliRunner().invoke(cli.cli, ["node", *args], prog_name="pyhorde", env={})
    assert result.exit_code == 2
    assert option in result.stderr


def test_the_help_names_the_options():
    shown = CliRunner().invoke(cli.cli, ["node", "--help"], prog_name="pyhorde").stdout
    for option in ("--discovery", "--members", "--label", "--data-dir"):
        assert option in shown
