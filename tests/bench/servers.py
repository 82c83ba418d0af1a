"""What Ostiary is measured against, each a process: `python -m tests.bench.servers KIND PORT [DATABASE]`.

All get a listen backlog as deep as Ostiary's: with asyncio's 100 a burst of 256 calls loses SYNs, and the
table would show the kernel's one-second retry instead of the servers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

import uvloop
from panoramisk.fast_agi import Application, Request

BACKLOG = 4096

# What `incoming` sets, in Ostiary's order; `test_bench` compares the names with what Ostiary sends.
ANSWER = {
    "CALLERID(name)": "",
    "CLAVESF": "",
    "OSTIARY_REASON": "known",
    "OSTIARY_TREATMENT": "",
    "OSTIARY_ROUTE": "",
    "OSTIARY_ROUTE_TYPE": "extension",
    "OSTIARY_RING_SECONDS": "20",
    "OSTIARY_FALLBACK": "",
    "OSTIARY_AGENT": "",
    "OSTIARY_CONTACT": "",
    "OSTIARY_CALL": "",
    "OSTIARY_ACTION": "allow",
}
CONSTANT = {
    **ANSWER,
    "CALLERID(name)": "Erika Mustermann",
    "OSTIARY_ROUTE": "201",
    "OSTIARY_AGENT": "201",
    "OSTIARY_CONTACT": "003Dn00000AbCdEIAV",
    "OSTIARY_CALL": "0198f0c2a7b47c0e9d5a4be1c3f20a11",
}
LOOK_UP = """
    SELECT c.name, c.salesforce_id, o.name, a.extension
    FROM phones p JOIN contacts c ON c.id = p.contact_id
    LEFT JOIN owners o ON o.id = c.owner_id
    LEFT JOIN agents a ON a.salesforce_user_id = o.salesforce_id
    WHERE p.number % 1000000 = ?1 % 1000000 AND +p.number = ?1 LIMIT 1"""


async def panoramisk(port: int, database: str) -> asyncio.Server:
    """The AGI library most asyncio programs use, with one SELECT and one SET VARIABLE for each variable."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)

    async def incoming(request: Request) -> None:
        number = request.headers["agi_callerid"].lstrip("+")
        found = connection.execute(LOOK_UP, (int(number),)).fetchone()
        answer = ANSWER | {"OSTIARY_CALL": request.headers["agi_uniqueid"]}
        if found is None:
            answer |= {"OSTIARY_REASON": "unknown", "OSTIARY_ROUTE_TYPE": "none", "OSTIARY_RING_SECONDS": ""}
        else:
            name, contact, _owner, extension = found
            answer |= {"CALLERID(name)": name, "OSTIARY_CONTACT": contact or ""}
            answer |= {"OSTIARY_ROUTE": extension or "", "OSTIARY_AGENT": extension or ""}
        for variable, value in answer.items():
            await request.send_command(f'SET VARIABLE {variable} "{value}"')

    application = Application(loop=asyncio.get_running_loop())
    application.add_route("incoming", incoming)
    return await asyncio.start_server(application.handler, "127.0.0.1", port, backlog=BACKLOG)


class Responder(asyncio.Protocol):
    """The least an asyncio program can do: wait for the empty line, send one constant command, half-close."""

    command = b'EXEC MSet "%s"\n' % ",".join(f"{name}={value}" for name, value in CONSTANT.items()).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.block = b""

    def data_received(self, data: bytes) -> None:
        if not self.block.endswith(b"\n\n"):
            self.block += data
            if self.block.endswith(b"\n\n"):
                self.transport.write(self.command)
                self.transport.write_eof()


async def responder(port: int, _database: str) -> asyncio.Server:
    """Serve the limit: no look-up, nothing decided, nothing kept."""
    return await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", port, backlog=BACKLOG)


Serve = Callable[[int, str], Coroutine[Any, Any, asyncio.Server]]
KINDS: dict[str, tuple[Serve, Callable[[], asyncio.AbstractEventLoop]]] = {
    "panoramisk": (panoramisk, asyncio.new_event_loop),
    "panoramisk-uvloop": (panoramisk, uvloop.new_event_loop),
    "responder": (responder, asyncio.new_event_loop),
    "responder-uvloop": (responder, uvloop.new_event_loop),
}


def main(kind: str, port: str, database: str = "") -> None:
    """Serve until killed."""
    serve, loop = KINDS[kind]

    async def forever() -> None:
        async with await serve(int(port), database) as server:
            await server.serve_forever()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(forever())


if __name__ == "__main__":
    main(*sys.argv[1:])
