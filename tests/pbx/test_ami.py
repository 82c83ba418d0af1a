"""The manager interface of a real Asterisk, by the user that is shipped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agi_server.ami.connection import Connection
from agi_server.ami.examine import Rights, examine
from agi_server.errors import PbxDown, PbxRefusal
from agi_server.settings import Pbx
from tests.events.authority import make_authority
from tests.pbx import directory
from tests.pbx.ami import SECRET
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.places import DID
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until
from tests.ports import free_port

OTHER_USERS = """
[deaf]
secret = for-the-tests
read = agent
write = reporting,originate,call

[follows]
secret = for-the-tests
read = call,agent,dialplan
write = reporting

[dials]
secret = for-the-tests
read = call
write = originate,call

[almighty]
secret = for-the-tests
read = all
write = all
"""


@pytest.fixture(scope="module")
def reload(asterisk: Asterisk) -> Iterator[Callable[[str, str], None]]:
    """Return what changes a file of the manager's settings, until the module's tests are done."""
    files: dict[Path, str] = {}

    def change(name: str, text: str) -> None:
        file = asterisk.own / "etc/asterisk" / name
        files.setdefault(file, file.read_text())
        file.write_text(text)
        asterisk.console("manager reload")

    yield change
    for file, text in files.items():
        file.write_text(text)
    asterisk.console("manager reload")


@pytest.fixture(scope="module")
def users(asterisk: Asterisk, reload: Callable[[str, str], None]) -> None:
    """Have users of other rights, too."""
    shipped = (asterisk.own / "etc/asterisk/manager_ostiary.conf").read_text()
    reload("manager_ostiary.conf", shipped + OTHER_USERS)


def where(ports: dict[str, int], user: str = "ostiary", **changes: object) -> Pbx:
    values = {"name": "pbx", "host": "127.0.0.1", "port": ports["AMI"], "username": user, "secret": SECRET}
    return Pbx.model_validate({**values, **changes})


# Rights


@pytest.mark.usefixtures("asterisk")
async def test_the_user_that_is_shipped_may_what_it_needs_and_no_more(ports: dict[str, int]) -> None:
    rights = await examine(where(ports))
    assert rights.greeting.startswith("Asterisk Call Manager/")
    assert rights == Rights(greeting=rights.greeting, following=(), dialling=(), too_much=(), deaf=False)


@pytest.mark.usefixtures("users")
async def test_what_other_users_lack(ports: dict[str, int]) -> None:
    assert (await examine(where(ports, "deaf"))).deaf
    follows = await examine(where(ports, "follows"))
    assert (follows.following, follows.dialling, follows.deaf) == ((), ("originate", "call"), None)
    assert (await examine(where(ports, "dials"))).following == ("reporting",)
    assert set((await examine(where(ports, "almighty"))).too_much) >= {"command", "config", "system"}


@pytest.mark.usefixtures("asterisk")
async def test_a_wrong_secret(ports: dict[str, int]) -> None:
    with pytest.raises(PbxRefusal, match="Authentication failed"):
        await examine(where(ports, secret="wrong"))


def test_examining_leaves_nothing_behind(asterisk: Asterisk, ports: dict[str, int]) -> None:
    asyncio.run(examine(where(ports)))
    assert not asterisk.channels()


# What is heard


@pytest.mark.usefixtures("ostiary")
def test_little_is_heard_of_a_call_but_what_is_needed(sipp: Sipp, ports: dict[str, int]) -> None:
    heard: list[dict[str, str]] = []
    odd: Counter[str] = Counter()

    async def call() -> None:
        connection = Connection(
            where(ports),
            hear=lambda event, _: heard.append(dict(event)),
            odd=lambda what: odd.update([what]),
        )
        up = asyncio.Event()

        async def begun() -> None:
            for action in ("CoreShowChannels", "DeviceStateList", "ExtensionStateList", "QueueStatus"):
                with suppress(PbxRefusal):  # a module that is not loaded
                    await connection.listing({"Action": action})
            up.set()

        kept = asyncio.create_task(connection.keep(begun))
        await up.wait()
        await asyncio.to_thread(calls)
        async with asyncio.timeout(10):
            while sum(event["Event"] == "Hangup" for event in heard) < 2:
                await asyncio.sleep(0.02)
        kept.cancel()
        await asyncio.wait({kept})

    def calls() -> None:
        sipp.phone("101")
        assert sipp.call(DID, number=directory.OWNED, hold=0.2).status() == 200

    asyncio.run(call())
    names = Counter(event["Event"] for event in heard)
    assert {"Newchannel", "Newstate", "DialBegin", "DialEnd", "BridgeEnter", "Hangup"} <= set(names)
    assert "DeviceStateChange" in names
    assert "Newexten" not in names
    variables = {event["Variable"] for event in heard if event["Event"] == "VarSet"}
    assert all(re.match("[MQR]", variable) for variable in variables)
    assert not odd


# TLS


@pytest.fixture(scope="module")
def secure(
    asterisk: Asterisk, reload: Callable[[str, str], None], tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """Return a port that speaks TLS, and the certificate of who vouches for it."""
    authority = make_authority(tmp_path_factory.mktemp("tls"))
    config = asterisk.own / "etc/asterisk"
    owner = (config / "manager.conf").stat()
    for file, name in ((authority.certificate, "ami.pem"), (authority.key, "ami.key")):
        shutil.copy(file, config / name)
        os.chown(config / name, owner.st_uid, owner.st_gid)
    port = free_port()
    lines = (
        "[general]",
        "tlsenable = yes",
        f"tlsbindaddr = 127.0.0.1:{port}",
        "tlscertfile = /etc/asterisk/ami.pem",
        "tlsprivatekey = /etc/asterisk/ami.key",
    )
    text = (config / "manager.conf").read_text()
    reload("manager.conf", text.replace("[general]", "\n".join(lines), 1))
    return port, authority.ca


async def test_tls(secure: tuple[int, Path], ports: dict[str, int]) -> None:
    port, ca = secure
    rights = await examine(where(ports, port=port, tls=True, ca_file=str(ca)))
    assert rights.following == ()


async def test_tls_with_a_certificate_nobody_vouches_for(
    secure: tuple[int, Path], ports: dict[str, int]
) -> None:
    with pytest.raises(PbxDown, match="certificate is not trusted"):
        await examine(where(ports, port=secure[0], tls=True))


# States


@pytest.fixture(scope="module")
def knowing(serve: Callable[..., Ostiary], ports: dict[str, int]) -> Iterator[Ostiary]:
    """Return a server that hears what phones do; it falls back to 8001."""
    server = serve(
        OSTIARY_AMI__HOST="127.0.0.1",
        OSTIARY_AMI__PORT=str(ports["AMI"]),
        OSTIARY_AMI__USERNAME="ostiary",
        OSTIARY_AMI__SECRET=SECRET,
        OSTIARY_ROUTING__RING_SECONDS="3",
        OSTIARY_ROUTING__FALLBACK="8001",
        OSTIARY_JOURNAL__ENABLED="true",
    )
    until(lambda: server.rows("SELECT seen_at FROM pbx_states"))
    yield server
    server.stop()  # it would follow the calls of all other tests


def state(server: Ostiary, extension: str) -> str:
    found = server.rows("SELECT state FROM agent_states WHERE extension = ?", extension)
    return str(found[0][0]) if found else ""


def test_a_busy_agent_is_not_rung(sipp: Sipp, asterisk: Asterisk, knowing: Ostiary) -> None:
    asterisk.set_global("OSTIARY_SERVER", knowing.address)
    phone = sipp.phone("101")
    first = sipp.call(DID, number=directory.OWNED, hold=4)
    until(lambda: state(knowing, "101") == "busy")
    assert sipp.call(DID, number=directory.OWNED).status() != 200
    trace = until(
        lambda: knowing.rows("SELECT trace FROM calls WHERE trace LIKE '%straight to the fallback%'")
    )
    assert '"busy"' in str(trace)
    assert [message.start for message in phone.received()].count(phone.invite().start) == 1
    assert first.status() == 200
    until(lambda: state(knowing, "101") == "free")


def test_who_is_free_again_is_rung(sipp: Sipp, asterisk: Asterisk, knowing: Ostiary) -> None:
    asterisk.set_global("OSTIARY_SERVER", knowing.address)
    until(lambda: state(knowing, "101") in {"", "free"})
    phone = sipp.phone("101")
    assert sipp.call(DID, number=directory.OWNED, hold=0.2).status() == 200
    assert phone.rang()
