"""The fence around simulated code: an event loop that refuses whatever touches the real world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class OutsideWorld(RuntimeError):
    """Simulated code tried to touch the real world."""


class Fenced(asyncio.AbstractEventLoop):
    """What a loop without an outside world does not do, or need not do anything for."""

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        pass

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass


_OUTSIDE = (
    "add_reader add_signal_handler add_writer connect_accepted_socket "
    "connect_read_pipe connect_write_pipe create_connection create_datagram_endpoint "
    "create_server create_unix_connection create_unix_server getaddrinfo getnameinfo "
    "remove_reader remove_signal_handler remove_writer sendfile "
    "set_default_executor sock_accept sock_connect sock_recv sock_recv_into sock_recvfrom "
    "sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls subprocess_exec "
    "subprocess_shell"
).split()


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OutsideWorld(
            f"{name}: sockets, signals and subprocesses are real; use the World's network"
        )

    return refuse


for _name in _OUTSIDE:
    setattr(Fenced, _name, _refusal(_name))
