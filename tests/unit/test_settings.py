"""Settings: which place wins, and what an error says about where to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyhorde import settings
from pyhorde.config import MembershipConfig, TlsFiles
from pyhorde.errors import ConfigError

SECRET = b"9f1c7a05d3e84b62a0c5718ee2d94f36"


def load(file: Path | None = None, /, env: dict[str, str] | None = None, **flags: Any) -> Any:
    if file is not None:
        flags["config"] = str(file)
    return settings.load(flags, env or {})


def wrong(*args: Any, **kwargs: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    return caught.value


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "horde.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_flags_beat_environment_beats_file_beats_default(write: Any) -> None:
    file = write('name = "file"\ncluster = "file"\nlog_level = "error"\n')
    read = load(file, {"PYHORDE_NAME": "env", "PYHORDE_CLUSTER": "env"}, name="flag")
    assert read.config.name == "flag"
    assert read.config.cluster == "env"
    assert read.log_level == "error"
    assert read.log_format == "text"


def test_an_empty_variable_is_not_set() -> None:
    assert load(env={"PYHORDE_CLUSTER": " "}).config.cluster == "horde"


def test_the_file_may_be_named_by_the_environment(write: Any) -> None:
    file = write('cluster = "blue"')
    assert load(env={"PYHORDE_CONFIG": str(file)}).config.cluster == "blue"


def test_lists_are_comma_separated_text_or_toml_lists(write: Any) -> None:
    file = write('peers = ["127.0.0.1:1", "127.0.0.1:2"]\napps = ["one", "two"]')
    assert load(file).config.peers == ("127.0.0.1:1", "127.0.0.1:2")
    assert load(file).apps == ("one", "two")
    assert load(file, {"PYHORDE_APP": "three, four"}).apps == ("three", "four")
    assert load(file, peers=("127.0.0.1:3,127.0.0.1:4",)).config.peers[1] == "127.0.0.1:4"


def test_repeated_app_flags_add_up() -> None:
    assert load(apps=("one", "two:Class")).apps == ("one", "two:Class")


@pytest.mark.parametrize(
    ("hostname", "bind", "name"),
    [
        ("host", "127.0.0.1:7411", "host-7411"),
        ("_my host!.lan", "127.0.0.1:1", "my-host-.lan-1"),
        ("\u00fc", "127.0.0.1:2", "node-2"),
        ("h" * 80, "127.0.0.1:7411", "h" * 58 + "-7411"),
    ],
)
def test_the_default_name_is_the_host_and_the_port(
    monkeypatch: pytest.MonkeyPatch, hostname: str, bind: str, name: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    assert load(bind=bind).config.name == name


def test_with_a_free_port_the_default_name_has_the_os_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 42)
    assert settings.default_name("127.0.0.1:0").endswith("-42")


def test_tables_change_single_fields_of_the_profile(write: Any) -> None:
    file = write('profile = "wan"\n[membership]\nindirect_probes = 5\n[runtime]\nreplicas = 2')
    config = load(file).config
    assert config.membership.indirect_probes == 5
    assert config.membership.probe_interval == MembershipConfig.wan().probe_interval
    assert config.runtime.replicas == 2
    assert load(file, profile="local").config.membership.probe_interval == 0.5


def test_drain_timeout_is_a_flag_a_key_and_a_field(write: Any) -> None:
    assert load(drain_timeout="7.5").config.runtime.drain_timeout == 7.5
    assert load(write("drain_timeout = 8")).config.runtime.drain_timeout == 8
    file = write("[runtime]\ndrain_timeout = 9")
    assert load(file).config.runtime.drain_timeout == 9
    assert load(file, {"PYHORDE_DRAIN_TIMEOUT": "3"}).config.runtime.drain_timeout == 3


def test_drain_timeout_twice_in_a_file_is_refused(write: Any) -> None:
    error = wrong(write("drain_timeout = 8\n[runtime]\ndrain_timeout = 9"))
    assert "twice" in error.problem


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('clustre = "x"', "clustre", "did you mean cluster?"),
        ('app = ["x"]', "app", "did you mean apps?"),
        ("replicas = 2", "replicas", "put it into the table [runtime]"),
        ("[runtime]\nreplica = 2", "runtime.replica", "did you mean replicas?"),
        ("[runtim]\nreplicas = 2", "runtim", "did you mean runtime?"),
        ('config = "x"', "config", "there are: "),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(
    write: Any, text: str, key: str, hint: str
) -> None:
    file = write(text)
    error = wrong(file)
    assert error.option == f"{file}:{key}"
    assert error.problem == "there is no such setting"
    assert error.hint.startswith(hint) or key == "config"


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("name = 5", "name", "must be a text in quotes, and not 5"),
        ('peers = "a:1"', "peers", "must be a list of texts"),
        ("peers = [1]", "peers", "must be a list of texts"),
        ("insecure = 1", "insecure", "must be true or false"),
        ('drain_timeout = "5"', "drain_timeout", "must be a number, and not '5'"),
        ("drain_timeout = true", "drain_timeout", "must be a number"),
        ("drain_timeout = inf", "drain_timeout", "must be a number from 0 up"),
        ("[runtime]\nreplicas = 1.5", "runtime.replicas", "must be a whole number"),
        ("[runtime]\nreplicas = -1", "runtime.replicas", "must be a number from 0 up"),
        ("runtime = 3", "runtime", "must be a table"),
        ('log_format = "xml"', "log_format", "must be one of text, json, and not 'xml'"),
    ],
)
def test_a_wrong_type_in_the_file_names_file_and_key(
    write: Any, text: str, key: str, problem: str
) -> None:
    file = write(text)
    error = wrong(file)
    assert error.option == f"{file}:{key}"
    assert error.problem.startswith(problem)


def test_a_wrong_value_names_the_flag_or_the_variable() -> None:
    assert wrong(log_level="loud").option == "--log-level"
    assert wrong(drain_timeout="soon").option == "--drain-timeout"
    assert wrong(env={"PYHORDE_INSECURE": "maybe"}).option == "PYHORDE_INSECURE"
    assert wrong(env={"PYHORDE_DRAIN_TIMEOUT": "nan"}).option == "PYHORDE_DRAIN_TIMEOUT"


def test_what_the_config_refuses_names_the_place_too(write: Any) -> None:
    assert wrong(bind="nowhere").option == "--bind"
    assert wrong(env={"PYHORDE_PEERS": "nowhere"}).option == "PYHORDE_PEERS"
    file = write("[membership]\nprobe_timeout = 5")
    assert wrong(file).option == f"{file}:membership.probe_timeout"
    assert "--secret-file" in wrong(bind="10.0.0.1:1").hint


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("Yes", True), ("off", False)])
def test_a_switch_in_the_environment(text: str, expected: bool) -> None:
    assert load(env={"PYHORDE_INSECURE": text}).config.insecure is expected


def test_insecure_allows_an_open_bind() -> None:
    assert load(bind="10.0.0.1:1", insecure=True).config.insecure


GOLDEN = 0x9E3779B97F4A7C15F39CC0605CEDC834
OTHER = b"77e0d41b9c2f4a63b58e0d17fa6c3920"


def put(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_the_secrets_are_the_lines_of_the_files_and_the_first_one_is_spoken(tmp_path: Path) -> None:
    one = put(tmp_path / "one", b"# the new one\n\n  " + SECRET + b" \r\n")
    two = put(tmp_path / "two", OTHER + b"\n" + SECRET)
    read = load(secret_file=(one, two))
    assert read.config.secret == SECRET
    assert read.config.secrets == (SECRET, OTHER)
    assert read.secret_files == (tmp_path / "one", tmp_path / "two")
    assert SECRET.decode() not in repr(read)
    variable = load(env={"PYHORDE_SECRET_FILE": f"{two} {one}"})
    assert variable.config.secrets == (OTHER, SECRET)


def test_a_secret_file_named_in_a_file_is_beside_it(write: Any, tmp_path: Path) -> None:
    put(tmp_path / "secret", SECRET)
    put(tmp_path / "old", OTHER)
    assert load(write('secret_file = "secret"')).config.secret == SECRET
    both = load(write('secret_file = ["secret", "old"]')).config.secrets
    assert both == (SECRET, OTHER)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read"),
        (b" \n# nothing\n", "has no secret in it"),
        (b"short", "at least 16 bytes, and this one 5"),
        (b"x" * 40, "can be guessed"),
        (SECRET + b"\ncorrect-horse-battery\n", "can be guessed"),
        (
            b"\n".join(b"%032x" % (n * 0x9E3779B97F4A7C15F39CC0605CEDC834) for n in range(3, 12)),
            "8",
        ),
        (b"#" * 70_000, "too large"),
    ],
)
def test_a_bad_secret_file_is_refused_with_the_mend(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        put(path, content)
    error = wrong(env={"PYHORDE_SECRET_FILE": str(path)})
    assert error.option == "PYHORDE_SECRET_FILE"
    assert problem in error.problem
    assert error.hint == f"make a good one with: openssl rand -hex 32 > {path} && chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o777])
def test_a_secret_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "secret", SECRET, mode)
    error = wrong(secret_file=(path,))
    assert "by others" in error.problem and f"{mode:03o}" in error.problem
    assert error.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_secret_file_that_its_group_may_read_is_accepted(tmp_path: Path, mode: int) -> None:
    """So a pod's files belong to a group of its own."""
    path = put(tmp_path / "secret", SECRET, mode)
    assert load(secret_file=(path,)).config.secret == SECRET


def test_the_three_files_of_tls_go_together(write: Any, tmp_path: Path) -> None:
    files = load(write('tls_cert = "a"\ntls_key = "b"\ntls_ca = "/c"')).config.tls
    assert files == TlsFiles(str(tmp_path / "a"), str(tmp_path / "b"), "/c")
    error = wrong(tls_cert="a", tls_ca="c")
    assert (error.option, error.problem) == ("--tls-cert", "--tls-key is missing")


def test_certificates_are_proof_enough_for_an_open_bind() -> None:
    assert load(bind="10.0.0.1:1", tls_cert="a", tls_key="b", tls_ca="c").config.secret is None


def test_a_file_that_is_missing_or_no_toml_is_refused(write: Any, tmp_path: Path) -> None:
    error = wrong(tmp_path / "none.toml")
    assert error.option == "--config"
    assert "no such file" in error.problem
    assert "is no TOML" in wrong(write("name =")).problem
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff")
    assert "is no TOML" in wrong(broken).problem
