"""The documents agree with the code: links, options, settings, errors, and the examples run."""

import ast
import contextlib
import dataclasses
import http.client
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import click
import pytest

from pyhorde import errors, settings
from pyhorde.cli import cli
from pyhorde.cluster.transport.admission import Kind
from pyhorde.config import MembershipConfig, NodeConfig, ReplicationConfig, RuntimeConfig
from pyhorde.testing.command import main as bad_days
from pyhorde.testing.invariants import INVARIANTS
from pyhorde.testing.plans import Plan
from pyhorde.testing.safeguards import SAFEGUARDS
from pyhorde.web import bodies, failures
from pyhorde.web.rows import STATES
from tests.architecture.sources import ROOT, modules

REFERENCE = ROOT / "docs/reference"
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md"))
)
SOURCE = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in modules())
TABLES = {
    "NodeConfig": NodeConfig,
    "Membership": MembershipConfig,
    "Replication": ReplicationConfig,
    "Runtime": RuntimeConfig,
}
NOT_OURS = re.compile(r"\b(docker|kubectl|pip|curl|openssl|pkill|make|pytest)\b")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def prose(document: str) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def section(document: str, heading: str) -> str:
    """What stands under a second-level heading."""
    _, _, rest = text_of(document).partition(f"\n## {heading}\n")
    assert rest, f"{document} has no section {heading!r}"
    return re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, code marks removed."""
    lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    split = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines)
    return [[cell.strip("`") for cell in cells] for cells in split]


# ---- links and names ----------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as they are made from their text."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    for link in (link for link in links if "://" not in link):
        file, _, anchor = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_can_be_reached_from_the_readme():
    seen, ahead = set(), ["README.md"]
    while ahead:
        document = ahead.pop()
        seen.add(document)
        for link in re.findall(r"\]\(([^)#\s]+\.md)", prose(document)):
            target = ((ROOT / document).parent / link).resolve().relative_to(ROOT).as_posix()
            if target not in seen and target in DOCUMENTS:
                ahead.append(target)
    assert set(DOCUMENTS) - seen == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str):
    named = re.findall(
        r"`((?:pyhorde|tests|docs|examples|deploy)/[\w./-]+|[\w.-]+\.(?:toml|yml))`",
        prose(document),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_name_in_the_architecture_is_real():
    quoted = re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", prose("ARCHITECTURE.md"))
    known = set(re.findall(r"\w+", SOURCE))
    last_words = {name: re.split(r"\.", name)[-1] for name in quoted}
    foreign = {"code", "pyproject.toml", "pure"}
    unknown = {name for name, last in last_words.items() if last not in known} - foreign
    assert unknown == set()


# ---- code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_blocks_compile(document: str):
    for number, block in enumerate(blocks(document, "python")):
        compile(block, f"{document}[{number}]", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def commands(
    group: click.Command = cli, name: str = "pyhorde"
) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    if isinstance(group, click.Group):
        for word, command in group.commands.items():
            yield from commands(command, f"{name} {word}")
    else:
        yield name, group


def options(command: click.Command) -> set[str]:
    found = (p.opts + p.secondary_opts for p in command.params if isinstance(p, click.Option))
    return {flag for flag in chain.from_iterable(found) if flag.startswith("--")}


DAYS = options(bad_days)
PLUGIN = {"--horde-seed", "--horde-seeds"}
KNOWN_OPTIONS = {"--help", "--version"} | DAYS | PLUGIN
KNOWN_OPTIONS = KNOWN_OPTIONS.union(*(options(command) for _, command in commands()))


def test_every_option_for_bad_days_is_explained():
    text = text_of("docs/how-to/test-on-bad-days.md")
    assert {option for option in DAYS | PLUGIN if option not in text} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_that_are_named_exist(document: str):
    ours = [line for line in text_of(document).splitlines() if not NOT_OURS.search(line)]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(ours)))
    assert named - KNOWN_OPTIONS == set()


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_is_in_the_reference(name: str, command: click.Command):
    text = text_of("docs/reference/cli.md")
    assert f"`{name}" in text or f"### {name}" in text
    assert {option for option in options(command) if option not in text} == set()


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_the_own_options_of_a_command_stand_where_it_is_described(
    name: str, command: click.Command
):
    text = text_of("docs/reference/cli.md")
    common = {"--address", "--timeout", "--tls-ca", "--json"}
    row = next((line for line in text.splitlines() if line.startswith(f"| `{name}")), None)
    where = row or re.split(r"^##+ ", text.partition(f"### {name}\n")[2], flags=re.MULTILINE)[0]
    assert {option for option in options(command) - common if option not in where} == set()


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_default_time_outs_are_the_real_ones(name: str, command: click.Command):
    given = {param.name: param.default for param in command.params}
    if "timeout" in given:
        found = rows(text_of("docs/reference/cli.md"))
        (row,) = (row for row in found if f"{row[0]} ".startswith(f"{name} "))
        assert float(row[1]) == given["timeout"]


def variables() -> set[str]:
    """Every environment variable that is read somewhere."""
    read = {settings._variable(key) for key in settings._OPTIONS}
    return read | set(re.findall(r"\"(PYHORDE_[A-Z_]+)\"", SOURCE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_variables_that_are_named_exist(document: str):
    assert set(re.findall(r"PYHORDE_[A-Z_]*[A-Z]", text_of(document))) <= variables()


def test_every_variable_is_in_the_reference():
    text = text_of("docs/reference/cli.md") + text_of("docs/reference/settings.md")
    assert {name for name in variables() if name not in text} == set()


# ---- settings and errors ------------------------------------------------------------------------


def default_of(field: dataclasses.Field[object]) -> str:
    return "required" if field.default is dataclasses.MISSING else repr(field.default)


@pytest.mark.parametrize("heading", TABLES)
def test_every_setting_stands_in_the_reference_with_its_default(heading: str):
    fields = dataclasses.fields(TABLES[heading])
    wanted = {f.name: default_of(f) for f in fields if f.default_factory is dataclasses.MISSING}
    text = section("docs/reference/settings.md", heading).partition("Three profiles")[0]
    assert {row[0]: row[1] for row in rows(text)[2:]} == wanted


def test_profiles_are_the_real_ones():
    text = section("docs/reference/settings.md", "Membership").partition("Three profiles")[2]
    header, _, *body = rows(text)
    presets = {name: settings._PROFILES[name]() for name in header[1:]}
    names = [field.name for field in dataclasses.fields(MembershipConfig)]
    different = [n for n in names if len({getattr(p, n) for p in presets.values()}) > 1]
    wanted = [[name, *(repr(getattr(p, name)) for p in presets.values())] for name in different]
    assert sorted(body) == sorted(wanted)


def test_options_of_a_node_are_the_real_ones():
    found = rows(section("docs/reference/settings.md", "Options"))[2:]
    wanted = {
        (key if key != "config" else "-", settings._flag(key), settings._variable(key))
        for key in settings._OPTIONS
    }
    assert {tuple(row[:3]) for row in found} == wanted


def errors_of(*sources: object) -> dict[str, type[errors.HordeError]]:
    members = (inspect.getmembers(source, inspect.isclass) for source in sources)
    return {
        name: kind
        for name, kind in chain.from_iterable(members)
        if issubclass(kind, errors.HordeError) and kind.__module__ in {s.__name__ for s in sources}
    }


@pytest.mark.parametrize(
    ("part", "known"),
    [(0, errors_of(errors)), (1, errors_of(bodies, failures))],
    ids=["tree", "web"],
)
def test_every_error_stands_in_the_reference(part: int, known: dict[str, type[errors.HordeError]]):
    text = text_of("docs/reference/errors.md").split("\n## Of the HTTP API alone\n")[part]
    found = {row[0]: row[1:5] for row in rows(text)[2:]}
    assert found == {
        name: [
            kind.code,
            str(kind.http_status),
            str(kind.exit_code),
            ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind)).strip("`") or "-",
        ]
        for name, kind in known.items()
    }


def test_every_route_stands_in_the_reference():
    routes = set(re.findall(r"\(\"(GET|POST|PUT|DELETE)\", \"(/[^\"]*)\"", SOURCE))
    text = text_of("docs/reference/http.md").partition("\n## ")[0]
    assert {tuple(row[0].split()) for row in rows(text)[2:]} == routes


def test_every_kind_of_event_stands_in_the_reference():
    noted = set(re.findall(r"(?<!output\.)\bnote\(\"(\w+)\"", SOURCE))
    noted |= {f"member_{state}" for state in STATES} | {"uncordoned", "gap", "lost"}
    table = section("docs/reference/http.md", "Events").partition("| kind | fields")[2]
    first = " ".join(row[0] for row in rows(table)[1:])
    assert set(re.findall(r"\w+", first)) == noted


# ---- examples that run --------------------------------------------------------------------------


def free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYHORDE_")}
    return {**clean, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def address() -> Iterator[str]:
    """A node as the documents start it, on a free port."""
    (bind,) = free_addresses(1)
    words = [sys.executable, "-m", "pyhorde", "node", "--name", "a", "--app", "examples.counter"]
    node = subprocess.Popen(
        [*words, "--bind", bind], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL
    )
    try:
        wait_until_ready(bind, node)
        yield bind
    finally:
        node.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(10)
        node.kill()
        node.wait()


def wait_until_ready(bind: str, node: subprocess.Popen[bytes]) -> None:
    host, _, port = bind.partition(":")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and node.poll() is None:
        connection = http.client.HTTPConnection(host, int(port), timeout=2)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"the node is not ready (exit code {node.poll()})")


def exchanges(document: str) -> list[tuple[str, str]]:
    """Every ``curl`` line with the answer in the comment below it, empty where there is none."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    lines.append("")
    return [
        (line, below.removeprefix("# ") if below.startswith("# ") else "")
        for line, below in pairwise(lines)
        if line.startswith("curl ")
    ]


def elided(value: object, shown: object) -> object:
    """The value with ``"..."`` wherever the document shows just that."""
    if shown == "...":
        return shown
    if isinstance(value, dict) and isinstance(shown, dict):
        return {key: elided(item, shown.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(shown, list) and len(value) == len(shown):
        return [elided(*pair) for pair in zip(value, shown, strict=True)]
    return value


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("document", ["README.md", "docs/reference/http.md"])
def test_curl_lines_give_the_answers_that_are_shown(document: str, address: str):
    assert len(exchanges(document)) >= 7
    for line, shown in exchanges(document):
        words = shlex.split(line.replace("127.0.0.1:7411", address))
        words += ["--noproxy", "*", "--max-time", "20", "--write-out", r"\n%{http_code}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        body, _, status = done.stdout.rpartition("\n")
        expected = shown.replace("127.0.0.1:7411", address)
        if match := re.match(r"(\d{3})\s*", expected):
            assert status == match[1], line
            expected = expected[match.end() :]
        else:
            assert status.startswith("2"), line
        if expected:
            assert elided(json.loads(body), json.loads(expected)) == json.loads(expected), line


def test_the_library_example_prints_what_it_says():
    script = blocks("README.md", "python")[0]
    said = re.findall(r"print\(.*\)  # (\d+)", script)
    for old, new in zip(("127.0.0.1:7411", "127.0.0.1:7412"), free_addresses(2), strict=True):
        script = script.replace(old, new)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.stdout.split() == said, done.stderr
    assert len(said) == 3


def printed(*command: str) -> str:
    """What a Python program prints that ends well."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_simulated_cluster_prints_what_it_says():
    found = blocks("docs/how-to/test-on-bad-days.md", "python")
    (script,) = (block for block in found if "SimCluster" in block)
    said = re.findall(r"print\(.*\)  # (\d+)", script)
    assert printed("-c", script).split() == said == ["2"]


def test_the_pieces_of_the_how_to_about_finding_print_what_they_say():
    script = "\n".join(blocks("docs/how-to/find-processes.md", "python"))
    *lines, first, second, third = printed("-c", script).splitlines()
    assert lines == re.findall(r"print\(.*\)  # (.+)", script)
    assert first == "MetaChanged opening"
    assert {second, third} == {"Unregistered reading-1", "Unregistered room/1"}


def test_replicas_alone_do_what_the_reference_says():
    found = blocks("docs/reference/python.md", "python")
    (script,) = (block for block in found if "pyhorde.crdt" in block)
    assert printed("-c", script).splitlines() == re.findall(r"print\(.*\)  # (.+)", script)


def test_the_example_of_two_replicas_prints_what_the_reference_shows():
    (shown,) = blocks("docs/reference/python.md", "text")
    assert printed("-m", "examples.merge_two_replicas") == shown


def test_every_figure_of_a_node_is_explained():
    sources = [ROOT / f"pyhorde/{path}.py" for path in ("node", "cluster/transport/http")]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    figures = "".join(re.findall(r"def statistics.*?return \{(.*?)\n        \}", source, re.DOTALL))
    known = set(re.findall(r"^            \"(\w+)\":", figures, re.MULTILINE))
    known |= {f"connections_{kind.value}" for kind in Kind}
    found = rows(section("docs/reference/python.md", "Statistics"))[2:]
    assert set(re.findall(r"\w+", " ".join(row[0] for row in found))) == known


def test_every_safeguard_stands_in_the_table_with_its_seed():
    found = rows(section("docs/explanation/simulation.md", "Safeguards"))[2:]
    assert [row[0] for row in found] == list(SAFEGUARDS)
    for name, about, kinds, seed, *_ in found:
        assert (about, kinds) == (SAFEGUARDS[name].about, ", ".join(SAFEGUARDS[name].faults))
        plan = Plan.load(ROOT / f"tests/simulation/corpus/without-{name}.json")
        assert plan.seed == int(seed)


def test_every_invariant_stands_in_the_list():
    found = rows(text_of("docs/explanation/invariants.md"))[2:]
    assert [int(row[0]) for row in found] == list(INVARIANTS)


def test_the_bad_day_of_the_readme_ends_well(tmp_path: Path):
    script = blocks("README.md", "python")[1]
    file = tmp_path / "test_visits.py"
    file.write_text(script)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0 and "20 passed" in done.stdout, done.stdout


def test_the_planted_bug_of_the_how_to_is_found_and_replayed_and_its_mend_helps(tmp_path: Path):
    """Ten lines of test with the public fixture, as a reader would copy them."""
    found = blocks("docs/how-to/test-on-bad-days.md", "python")
    test, mend = found[0], found[1].strip()
    file = tmp_path / "test_meeting.py"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(
            [*command, file.name],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    file.write_text(test)
    first = run()
    assert first.returncode == 1 and "passed" in first.stdout, first.stdout + first.stderr
    replays = re.findall(r'replay: pytest "(.*)" --horde-seed (\d+)\ntrace:  (\w+)', first.stdout)
    assert replays
    _, seed, trace = replays[0]
    assert f"--horde-seed {seed}\n" in text_of("docs/how-to/test-on-bad-days.md")
    again = run("--horde-seed", seed)
    assert again.returncode == 1 and f"trace:  {trace}" in again.stdout, again.stdout

    old = 'self.state = {"lines": []}\n        self.speakers = set()'
    merge = 'self.state["lines"] = sorted({*self.state["lines"], *other.state["lines"]})'
    assert old in test and merge in test
    mended = test.replace(old, mend).replace("self.speakers.add", 'self.state["speakers"].append')
    mended = mended.replace("sorted(self.speakers)", 'self.state["speakers"]')
    both = "        " + merge.replace("lines", "speakers")
    file.write_text(mended.replace(merge, f"{merge}\n{both}"))
    assert run().returncode == 0, run().stdout
