"""The commands with TLS and several secrets, and files that change under running nodes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.e2e.machines import Machines, until

OLD, NEW = "9f1c7a05d3e84b62a0c5718ee2d94f36", "77e0d41b9c2f4a63b58e0d17fa6c3920"


def put(path: Path, *lines: str) -> None:
    fresh = path.with_suffix(".next")
    fresh.write_text("\n".join(lines))
    fresh.chmod(0o600)
    fresh.replace(path)


async def test_secrets_and_certificates_are_rolled_and_commands_go_on(
    machines: Machines, tmp_path: Path
):
    made = await machines.run("certs", "init", str(tmp_path), "--json")
    files = json.loads(made.out)
    assert made.code == 0 and files["new_ca"]
    secret = tmp_path / "secret"
    put(secret, OLD)
    nodes = machines.prepare("a", "b")
    for node in nodes:
        node.options += ["--secret-file", str(secret), "--tls-cert", files["cert"]]
        node.options += ["--tls-key", files["key"], "--tls-ca", files["ca"]]
        await node.boot()

    async def alive() -> bool:
        options = ["--address", nodes[1].address, "--tls-ca", files["ca"], "--json"]
        ran = await machines.run("members", *options)
        if ran.code:
            return False
        states = {row["name"]: row["state"] for row in json.loads(ran.out)["members"]}
        return states == {"a": "alive", "b": "alive"}

    await until(alive, "both are there")
    plain = await machines.run("status", "--address", nodes[1].address)
    assert plain.code == 4
    for lines in ((OLD, NEW), (NEW, OLD), (NEW,)):
        put(secret, "# rolled", *lines)
        for node in nodes:
            count = node.err.count("secrets_reloaded")
            node.send(signal.SIGHUP)
            await until(
                lambda node=node, count=count: node.err.count("secrets_reloaded") > count, "read"
            )
    again = await machines.run("certs", "init", str(tmp_path))
    assert again.code == 0 and "the authority that was there" in again.err + again.out
    await until(lambda: all("tls_reloaded" in node.err for node in nodes), "certificates are read")
    await until(alive, "both are still there")
    assert not any("member_dead" in node.err for node in nodes)
    put(secret, "weak")
    await until(lambda: all("reload_failed" in node.err for node in nodes), "it is said")
    await until(alive, "and nothing changes")
