"""Connections of the stand-in: HTTP/1.1 kept alive, each answer in one write, cut short on command."""

from __future__ import annotations

import math
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from wsgiref.handlers import format_date_time

from tests.org import soap
from tests.org.errors import OrgError
from tests.org.faults import Fault, spoiled_answer
from tests.org.messages import Answer, Request, refusal

if TYPE_CHECKING:
    from tests.org.server import OrgServer

HOST = "127.0.0.1"
LONGEST_URI = 16_384  # bytes; with the headers as well
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Dropped(Exception):  # noqa: N818  # not an error
    """The connection ends here, on command."""


class Listener(ThreadingHTTPServer):
    """One listening socket and its connections."""

    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 256

    def __init__(self, server: OrgServer, bound: socket.socket) -> None:
        super().__init__((HOST, 0), Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.org_server = server
        self.closing = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # its signature
        if not isinstance(sys.exception(), ConnectionError):  # a client that went away
            self.org_server.mistakes.append(traceback.format_exc())

    def end(self) -> None:
        """Shut every connection, then wait for their threads."""
        self.closing = True
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Connection(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body leave together
    disable_nagle_algorithm = True
    server_version = "sfdcedge"
    sys_version = ""

    @property
    def _listener(self) -> Listener:
        return cast("Listener", self.server)

    @property
    def _org_server(self) -> OrgServer:
        return self._listener.org_server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the org's time, which a test may set."""
        return format_date_time(self._org_server.org.now().timestamp() if timestamp is None else timestamp)

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle()

    def _do(self) -> None:
        server = self._org_server
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client went away: nothing was asked
            self.close_connection = True
            return
        request = Request(self.command, self.path, self.headers, body)
        server.arrived(self.command, self.path)
        try:
            self._answer(request)
        except Dropped:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _do  # noqa: N815  # their names

    def _answer(self, request: Request) -> None:
        """Answer; Dropped when a fault ends the connection. It is counted before the client can know of it."""
        server = self._org_server
        too_long = _too_long(request)
        faults = [] if request.path.startswith("/_org/") else server.faults.take(self.command, self.path)
        for fault in faults:
            if fault.kind in {"slow", "mute"}:
                self._wait_in(fault)
            if fault.kind in {"mute", "cut"}:
                self._drop()
        worst = next((fault for fault in faults if fault.kind != "slow"), None)
        answer = too_long or (worst and _spoiled(worst, request)) or _safely(server, request)
        if worst and worst.kind == "done-cut":
            self._drop()
        cut = worst is not None and worst.kind == "cut-answer"
        server.answered(self.command, self.path, 0 if cut else answer.status)
        self._send(answer, cut=cut)
        if answer.then:
            answer.then()

    def _wait_in(self, fault: Fault) -> None:
        until = time.monotonic() + fault.seconds if fault.kind == "slow" else math.inf
        while time.monotonic() < until and not self._listener.closing:
            if fault.released.wait(min(0.05, max(0.0, until - time.monotonic()))):
                return

    def _send(self, answer: Answer, *, cut: bool) -> None:
        self.send_response(answer.status)
        if answer.body or answer.stream:
            self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.stream is not None:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.stream is not None:
            self._send_stream(answer.stream, cut=cut)
        elif self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        self.wfile.flush()
        if cut:
            raise Dropped

    def _send_stream(self, stream: Iterator[bytes], *, cut: bool) -> None:
        for chunk in stream:
            if cut:  # says more than it sends
                self.wfile.write(b"%x\r\n%s" % (len(chunk), chunk[: len(chunk) // 2]))
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _drop(self) -> None:
        self._org_server.answered(self.command, self.path, 0)
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise Dropped


def _too_long(request: Request) -> Answer | None:
    if len(request.target) > LONGEST_URI:
        return Answer(414, b"<h1>URI Too Long</h1>", kind="text/html")
    if len(request.target) + sum(len(a) + len(b) + 4 for a, b in request.headers.items()) > LONGEST_URI:
        return Answer(431, b"<h1>Request Header Fields Too Large</h1>", kind="text/html")
    return None


def _spoiled(fault: Fault, request: Request) -> Answer | None:
    if fault.kind == "login-refused" and request.path.startswith("/services/Soap/"):
        return soap.refused(fault.code, fault.text)
    return spoiled_answer(fault)


def _safely(server: OrgServer, request: Request) -> Answer:
    try:
        return server.answer(request)
    except Exception:  # noqa: BLE001  # whatever it is, the test must hear of it
        server.mistakes.append(traceback.format_exc())
        return refusal(OrgError("UNKNOWN_EXCEPTION", "An unexpected error occurred.", status=500))
