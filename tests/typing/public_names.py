"""The public names as users import them; read by mypy in ``test_typing.py``, never run."""

from __future__ import annotations

from pyhorde import NameTaken, Node, Process, Ref, Resume, call, cast

__all__ = ["NameTaken", "Node", "Process", "Ref", "Resume", "call", "cast"]
