"""A wire that can be cut: a TCP proxy between two programs."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Passes on what comes to `port`, to `target` on this machine, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self.cuts = 0
        self._dead = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def cut(self) -> None:
        """Cut every connection; another may be made at once."""
        with self._guard:
            ends, self._ends = self._ends, []
            self.cuts += len(ends) // 2
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mute(self, *, dead: bool) -> None:
        """Cut every connection and refuse new ones, or let them come again."""
        self._dead = dead
        if dead:
            self.cut()

    def close(self) -> None:
        """Cut everything for good."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(10)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._dead:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._guard:
                self._ends += [near, far]
            threads = [
                threading.Thread(target=self._pass, args=pair, daemon=True)
                for pair in ((near, far), (far, near))
            ]
            for thread in threads:
                thread.start()
            self._threads += threads

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        self._close_when_done(source)

    def _close_when_done(self, end: socket.socket) -> None:
        end.close()
