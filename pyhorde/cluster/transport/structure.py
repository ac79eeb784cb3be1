"""Whether msgpack is whole, before anything is built of it. Pure."""

from __future__ import annotations

from typing import Final

import msgpack

TINY: Final = 1024
"""Bytes from which it is worth to look: what is smaller cannot take much."""


def check_structure(data: bytes) -> None:
    """Refuse values that are cut. Raises ``ValueError``, or an error of msgpack.

    Room for a list is made when its head is read: many heads that promise much would take a
    thousand times the bytes. In data that is whole they have said the truth. Extensions are not
    looked into.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    while unpacker.tell() < len(data):
        try:
            unpacker.skip()
        except msgpack.OutOfData as error:
            raise ValueError("it ends in the middle of a value") from error
