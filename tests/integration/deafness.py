"""Sockets that the kernel makes deaf: what arrives is dropped, and nobody hears that it is."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest

SO_ATTACH_FILTER = 26
BPF_RETURN = 0x06

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel says enough on Linux")


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    ]


def deafen(sock: Any) -> None:
    """Have the kernel drop each packet for this socket, as a cut cable would."""
    program = _Instruction(BPF_RETURN, 0, 0, 0)
    attached = struct.pack("HP", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attached)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(0.01)
