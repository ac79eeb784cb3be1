"""The client against a tiny HTTP server: what it sends, and what it makes of the answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Self

import pytest

from pyhorde import errors
from pyhorde.client import Client, rebuild


class Server(HTTPServer):
    """Gives its prepared answers one by one and keeps the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.seen: list[tuple[str, str, Any]] = []
        self.release = threading.Event()

    def will(self, *answers: tuple[int, Any]) -> None:
        self.answers += answers


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, json.loads(raw) if raw else None))
        status, body = self.server.answers.pop(0)
        if body is HANG:
            self.server.release.wait(10)
        if body in (HANG, DROP):
            return
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(0 if status == 204 else len(payload)))
        self.end_headers()
        if status != 204:
            self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *args: Any) -> None:
        pass


HANG = "hang"
DROP = "drop"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(f"127.0.0.1:{server.server_port}", timeout=5.0)


def failed(type_: str, code: str, message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"type": type_, "code": code, "message": message, **fields}}


def test_status_members_and_readiness(server: Server, client: Client) -> None:
    server.will((200, {"node": "a"}), (200, {"members": [{"name": "a"}]}), (200, [{"name": "b"}]))
    server.will((200, {}), (503, {"reason": "joining"}))
    assert client.status() == {"node": "a"}
    assert client.members() == [{"name": "a"}]
    assert client.members() == [{"name": "b"}]
    assert client.ready()
    assert not client.ready()
    assert [path for _, path, _ in server.seen][-1] == "/readyz"


def test_processes_are_read_page_by_page(server: Server, client: Client) -> None:
    server.will((200, {"processes": [{"name": "m-1"}], "next": "m-1"}))
    server.will((200, {"processes": [{"name": "m-2"}], "next": None}))
    assert [p["name"] for p in client.processes(prefix="m-", node="a", local=True)] == [
        "m-1",
        "m-2",
    ]
    assert server.seen[0][1] == "/v1/processes?prefix=m-&node=a&local=1"
    assert server.seen[1][1].endswith("&after=m-1")


def test_names_are_percent_encoded(server: Server, client: Client) -> None:
    server.will((200, {"name": "x"}), (200, {"name": "x"}))
    client.process("a/b c?\u00fc")
    client.process("..")
    assert server.seen[0][1] == "/v1/processes/a%2Fb%20c%3F%C3%BC"
    assert server.seen[1][1] == "/v1/processes/%2E%2E"


@pytest.mark.parametrize("name", ["", "\udcff"])
def test_a_name_that_cannot_be_one_is_not_sent(server: Server, client: Client, name: str) -> None:
    with pytest.raises(errors.InvalidName):
        client.stop(name)
    with pytest.raises(errors.InvalidName):
        client.start("a:B", name)
    assert server.seen == []


def test_start_stop_cast_and_meta(server: Server, client: Client) -> None:
    server.will((201, {"name": "n"}), (204, None), (202, {}), (200, {}), (200, {"value": [1]}))
    server.will((204, None))
    client.start("app:C", "n", [1], {"k": 2})
    client.stop("n")
    client.cast("n", "reset")
    client.meta_put("key", [1])
    assert client.meta_get("key") == [1]
    client.meta_delete("key")
    assert server.seen == [
        ("POST", "/v1/processes", {"type": "app:C", "name": "n", "args": [1], "kwargs": {"k": 2}}),
        ("DELETE", "/v1/processes/n", None),
        ("POST", "/v1/processes/n/cast", {"method": "reset", "args": [], "kwargs": {}}),
        ("PUT", "/v1/meta/key", {"value": [1]}),
        ("GET", "/v1/meta/key", None),
        ("DELETE", "/v1/meta/key", None),
    ]


def test_call_sends_its_timeout_and_request_id(server: Server, client: Client) -> None:
    server.will((200, {"result": 7}))
    assert client.call("n", "add", [2], {"by": 3}, timeout=1.5, request_id="r") == 7
    body = {"method": "add", "args": [2], "kwargs": {"by": 3}, "timeout": 1.5, "request_id": "r"}
    assert server.seen == [("POST", "/v1/processes/n/call", body)]


def test_errors_come_out_as_their_class_with_their_data(server: Server, client: Client) -> None:
    server.will((409, failed("NameTaken", "name_taken", "...", name="n", owner="b")))
    with pytest.raises(errors.NameTaken) as taken:
        client.start("a:B", "n")
    assert taken.value.owner == "b"
    server.will(
        (422, failed("ValueError", "remote_error", "ValueError: no", type_name="ValueError"))
    )
    with pytest.raises(errors.RemoteError) as remote:
        client.call("n", "m")
    assert str(remote.value) == "ValueError: no"


@pytest.mark.parametrize(
    "error",
    [
        errors.RemoteError("ValueError", "no"),
        errors.StartFailed("n", "KeyError", "'x'"),
        errors.NotReplicated("x", ("a", "b"), 2.0),
        errors.UnknownType("a:B", ("a:C",)),
        errors.NameNotFound("n"),
    ],
)
def test_an_error_survives_the_envelope(error: errors.HordeError) -> None:
    envelope = {"type": type(error).__name__, "code": error.code, "message": str(error)}
    wire = json.loads(json.dumps({**envelope, **error.data}))
    assert str(rebuild(wire)) == str(error)
    wire = json.loads(json.dumps({**envelope, "data": error.data}))
    assert rebuild(wire).data == error.data
    assert type(rebuild(wire)) is type(error)


def test_an_error_without_a_code_is_known_by_its_type_or_is_remote() -> None:
    assert isinstance(rebuild({"type": "NameNotFound", "name": "n"}), errors.NameNotFound)
    unknown = rebuild({"type": "Weird", "code": "weird", "message": "hm"})
    assert str(unknown) == "Weird: hm"
    assert str(rebuild({"type": "NameTaken", "message": "hm"})) == "NameTaken: hm"


def test_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(errors.PeerUnreachable) as caught:
            Client(address).status()
    assert caught.value.address == address
    assert caught.value.reason == "connection refused"


def test_an_answer_that_does_not_come_in_time(server: Server) -> None:
    client = Client(f"127.0.0.1:{server.server_port}", timeout=0.02)
    server.will((200, HANG))
    with pytest.raises(errors.CallTimeout) as caught:
        client.status()
    assert "GET /v1/status" in str(caught.value)


def test_a_lost_connection_leaves_a_change_undecided(server: Server, client: Client) -> None:
    server.will((200, DROP), (200, DROP))
    with pytest.raises(errors.Indeterminate):
        client.call("n", "add")
    with pytest.raises(errors.PeerUnreachable):
        client.status()


@pytest.mark.parametrize("answer", [(404, b"404: Not Found"), (500, {"oops": 1}), (200, [])])
def test_something_else_answers(server: Server, client: Client, answer: Any) -> None:
    server.will(answer)
    with pytest.raises(errors.PeerUnreachable, match="but no node"):
        client.status()


def test_an_address_that_is_none() -> None:
    with pytest.raises(errors.ConfigError):
        Client("nowhere")


def drain_steps(state: str, moved: int = 0) -> tuple[int, Any]:
    drain = {"total": 2, "moved": moved, "remaining": ["x"] * (2 - moved)}
    return 200, {"node": "a", "state": state, "drain": drain}


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyhorde.client._POLL", 0)


@pytest.mark.parametrize(
    ("last", "state"),
    [(drain_steps("left", 2), "left"), (drain_steps("ready"), "gone"), ((200, DROP), "gone")],
)
def test_a_drain_is_followed_to_its_end(
    server: Server, client: Client, no_pause: None, last: Any, state: str
) -> None:
    server.will((200, {"node": "a", "state": "ready"}), (202, {}))
    server.will(drain_steps("ready"), drain_steps("draining", 1), last)
    steps = list(client.drained())
    assert [step["state"] for step in steps] == ["ready", "draining", state]
    assert steps[1]["moved"] == 1
    assert steps[-1]["node"] == "a"


def test_a_node_that_drains_already_is_waited_for(
    server: Server, client: Client, no_pause: None
) -> None:
    server.will((200, {"node": "a"}))
    server.will((503, failed("NodeDraining", "node_draining", "...", node="a")))
    server.will(drain_steps("left", 2))
    assert [step["state"] for step in client.drained()] == ["left"]


def test_a_drain_that_does_not_end(
    server: Server, client: Client, no_pause: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 9.0])
    monkeypatch.setattr("pyhorde.client.time.monotonic", lambda: next(clock))
    server.will((200, {"node": "a"}), (202, {}), drain_steps("draining"))
    with pytest.raises(errors.CallTimeout, match="still draining"):
        list(client.drained())


# ---- events -------------------------------------------------------------------------------------


@pytest.fixture
def streaming() -> Iterator[Streaming]:
    with Streaming() as streaming:
        yield streaming


class Streaming:
    """Answers one request with prepared chunks, and then ends well, breaks off, or hangs."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.request = b""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._listener.close()

    def will(self, *chunks: bytes, then: str = "end") -> None:
        self._thread = threading.Thread(target=self._serve, args=(chunks, then), daemon=True)
        self._thread.start()

    def _serve(self, chunks: tuple[bytes, ...], then: str) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.request = connection.recv(65536)
            if then == "nothing":
                self._over.wait(10)
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for chunk in chunks:
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if then == "end":
                connection.sendall(b"0\r\n\r\n")
            if then == "hang":
                self._over.wait(10)


def test_events_come_in_whatever_pieces(streaming: Streaming) -> None:
    streaming.will(b": still h", b'ere\n\nid: x-1\ndata: {"id": "x', b'-1"}\n', b"\n")
    assert list(Client(streaming.address).events()) == [{"id": "x-1"}]
    assert streaming.request.startswith(b"GET /v1/events?after=0 HTTP/1.1\r\n")


def test_events_are_asked_for_from_an_id_and_of_a_kind(streaming: Streaming) -> None:
    streaming.will()
    assert list(Client(streaming.address).events(after="x-1", kind="a&", follow=False)) == []
    assert b"/v1/events?after=x-1&kind=a%26&follow=0 " in streaming.request


def test_events_that_break_off_are_no_end(streaming: Streaming) -> None:
    streaming.will(b'data: {"id": "x-1"}\n\n', then="break")
    events = Client(streaming.address).events()
    assert next(events) == {"id": "x-1"}
    with pytest.raises(errors.PeerUnreachable):
        next(events)


def test_events_of_a_node_that_falls_silent_are_lost(
    streaming: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyhorde.client.SILENCE", 0.05)
    streaming.will(b'data: {"id": "x-1"}\n\n', then="hang")
    events = Client(streaming.address).events()
    assert next(events) == {"id": "x-1"}
    with pytest.raises(errors.PeerUnreachable, match="silent for"):
        next(events)


def test_events_of_a_node_that_does_not_answer_time_out(streaming: Streaming) -> None:
    streaming.will(then="nothing")
    with pytest.raises(errors.CallTimeout):
        next(Client(streaming.address, timeout=0.05).events())


def test_events_that_are_refused_come_out_as_the_error(server: Server, client: Client) -> None:
    server.will((400, failed("BadRequest", "bad_request", "no such parameter")))
    with pytest.raises(errors.RemoteError, match="no such parameter"):
        next(client.events())
    server.will((200, b"data: no json\n\n"), (204, None))
    for _ in range(2):
        with pytest.raises(errors.PeerUnreachable):
            next(client.events())


def test_cordons(server: Server, client: Client) -> None:
    server.will((202, {"name": "b/1"}), (202, {"name": "b"}))
    server.will((404, failed("NameNotFound", "name_not_found", "...", name="x")))
    assert client.cordon("b/1") == {"name": "b/1"}
    assert client.uncordon("b") == {"name": "b"}
    with pytest.raises(errors.NameNotFound):
        client.cordon("x")
    assert [seen[:2] for seen in server.seen] == [
        ("POST", "/v1/members/b%2F1/cordon"),
        ("DELETE", "/v1/members/b/cordon"),
        ("POST", "/v1/members/x/cordon"),
    ]
