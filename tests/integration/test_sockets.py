"""What the kernel says of a connection whose other end is stopped, full, or cut off."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pyhorde.cluster.transport import tcp as sockets
from tests.integration.deafness import deafen, linux_only, until

PEER = """
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""


@pytest.fixture
def stopped() -> Iterator[socket.socket]:
    """A connection to an OS process that is stopped, and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", PEER, str(port)]) as peer:
            near, _ = server.accept()
            peer.send_signal(signal.SIGSTOP)
            with near:
                near.setblocking(False)
                sockets.tune(near)
                yield near
            peer.kill()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            yield near, far


async def fill(sock: socket.socket) -> None:
    """Send until the peer's buffer is full: its kernel is asked again and again for room."""

    def is_full() -> bool:
        try:
            while True:
                sock.send(b"x" * 65536)
        except BlockingIOError:
            backoff = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[4]
            return backoff > 0

    await until(is_full)


def silence(sock: socket.socket) -> float:
    seconds = sockets.host_silence(sock)
    assert seconds is not None
    return seconds


async def answers(sock: socket.socket, number: int) -> None:
    """Wait until the other machine has been heard so many times more."""
    heard, before = 0, silence(sock)

    def is_heard() -> bool:
        nonlocal heard, before
        now = silence(sock)
        heard, before = heard + (now < before), now
        return heard >= number

    await until(is_heard)


@linux_only
async def test_the_host_of_a_stopped_peer_is_heard_as_soon_as_something_is_sent(
    stopped: socket.socket,
):
    stopped.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    await until(lambda: silence(stopped) > 0.2)
    stopped.send(b"x")
    await until(lambda: silence(stopped) < 0.2)


@linux_only
async def test_the_host_of_a_stopped_peer_whose_buffer_is_full_is_heard_again_and_again(
    stopped: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "DEAF_AFTER", 0.0)
    await fill(stopped)
    await answers(stopped, 4)
    assert not sockets.is_deaf(stopped)


@linux_only
async def test_the_kernel_does_not_break_a_stopped_peer_because_its_buffer_is_full(
    stopped: socket.socket,
):
    assert stopped.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


@linux_only
async def test_a_host_that_confirms_nothing_is_deaf(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "DEAF_AFTER", 0.3)
    near, far = pair
    await until(lambda: silence(near) > 0.3)
    assert not sockets.is_deaf(near)  # nobody has asked it anything
    deafen(far)
    near.send(b"x")
    await until(lambda: sockets.is_deaf(near))


@linux_only
async def test_a_host_of_which_data_comes_is_not_silent(pair: tuple[socket.socket, socket.socket]):
    near, far = pair
    await until(lambda: silence(near) > 0.2)
    far.send(b"x")
    await until(lambda: silence(near) < 0.2)


@linux_only
def test_sockets_are_tuned(pair: tuple[socket.socket, socket.socket]):
    near, _ = pair
    assert sockets.tune(near)
    assert sockets.kernel_breaks()

    def option(name: str) -> int:
        return near.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))

    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert option("TCP_NODELAY") == 1
    assert (option("TCP_KEEPIDLE"), option("TCP_KEEPINTVL"), option("TCP_KEEPCNT")) == (5, 2, 2)
    assert option("TCP_NOTSENT_LOWAT") == 128 * 1024
    try:
        longest_pause = near.getsockopt(socket.IPPROTO_TCP, sockets._RTO_MAX)
    except OSError:
        return  # a kernel that has no such option
    assert longest_pause == 1_000


def test_where_the_kernel_says_nothing_it_is_not_relied_upon(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sockets, "_IS_LINUX", False)
    near, _ = pair
    assert not sockets.tune(near)
    assert sockets.host_silence(near) is None
    assert not sockets.is_deaf(near)


def test_a_kernel_that_leaves_zeros_is_not_believed():
    class Imitation:
        def getsockopt(self, *_: int) -> bytes:
            return bytes(60)

    assert sockets.host_silence(Imitation()) is None


def test_a_socket_that_is_closed_is_no_error(pair: tuple[socket.socket, socket.socket]):
    near, _ = pair
    near.close()
    assert not sockets.tune(near)
    assert sockets.host_silence(near) is None
    sockets.shut(near)
