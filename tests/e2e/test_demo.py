"""``pyhorde demo``, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.machines import ROOT, environment


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_demo_holds_its_promise(tmp_path: Path):
    demo = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "pyhorde", "demo", "--keep-logs", str(tmp_path)],
        cwd=ROOT,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(),
    )
    try:
        async with asyncio.timeout(170):
            out, err = await demo.communicate()
    finally:
        with suppress(ProcessLookupError):
            demo.terminate()
        await demo.wait()
    assert demo.returncode == 0, (out + err).decode()
    assert "Traceback" not in (out + err).decode()
