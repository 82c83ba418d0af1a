"""The serving process as a whole: its start, its stop, and the days on which everything breaks."""

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agi_server.errors import SettingsError
from agi_server.fastagi.client import ask, environment
from agi_server.scripts.trace import MARK
from agi_server.settings_file import load_settings
from tests.house import House, furnish, house, process, serving, until_answering, write_settings
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.ports import free_port

KNOWN = "+493023125010"


@pytest_asyncio.fixture
async def port() -> int:
    return free_port()


@pytest_asyncio.fixture
async def config(tmp_path: Path, port: int) -> AsyncIterator[Path]:
    """A furnished house nobody serves yet."""
    path = write_settings(tmp_path, port=port, deadline=60)
    await furnish(load_settings(path, environ={}))
    yield path


async def verdict(port: int, number: str = KNOWN) -> tuple[str, str]:
    told = (await ask("127.0.0.1", port, "incoming", number=number)).variables
    return told["OSTIARY_ACTION"], told["OSTIARY_REASON"]


async def _until_verdict(port: int, wanted: tuple[str, str]) -> None:
    async with asyncio.timeout(90):
        while await verdict(port) != wanted:
            await asyncio.sleep(0.1)


def log_of(config: Path) -> str:
    return (config.parent / "serve.log").read_text(encoding="utf-8")


async def until_logged(config: Path, text: str) -> None:
    async with asyncio.timeout(90):
        while text not in log_of(config):
            await asyncio.sleep(0.02)


async def test_it_starts_with_nothing_there(tmp_path: Path, port: int) -> None:
    config = write_settings(tmp_path, port=port)
    with process(config):
        await until_answering(port)
        assert await verdict(port) == ("allow", "unknown")


async def test_sigterm_finishes_the_call_in_hand(config: Path, port: int) -> None:
    with process(config) as server:
        await until_answering(port)
        block = environment("incoming", number=KNOWN)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(block[:-1])
        await writer.drain()
        await ask("127.0.0.1", port, "ping")  # by now the half call is in the server's hands
        server.send_signal(signal.SIGTERM)
        await until_logged(config, "stopping")
        writer.write(block[-1:])
        assert b"OSTIARY_ACTION=allow" in await reader.readline()
        writer.write(b"200 result=0\nHANGUP\n")
        writer.close()
        assert await asyncio.to_thread(server.wait, 20) == 0
    assert "Traceback" not in log_of(config)


async def test_a_stopped_server_has_written_its_journal(config: Path, port: int) -> None:
    with process(config) as server:
        await until_answering(port)
        await verdict(port)
        await _until_on_record(config, 1)  # the worker is there
        for _ in range(19):
            await verdict(port)
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 20) == 0
    async with serving(load_settings(config, environ={}), config) as ostiary:
        assert len(await ostiary.rows("SELECT 1 FROM calls")) == 20


async def test_a_taken_port_is_a_clear_error(config: Path, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(SettingsError, match=rf"fastagi\.listen.*{port}"):
            async with serving(load_settings(config, environ={}), config):
                pass


async def test_a_taken_http_port_costs_http_only(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = write_settings(tmp_path)
        text = config.read_text(encoding="utf-8")
        config.write_text(
            text.replace("enabled = false", f'listen = "127.0.0.1:{other.getsockname()[1]}"'),
            encoding="utf-8",
        )
        settings = load_settings(config, environ={})
        await furnish(settings)
        async with serving(settings, config) as ostiary:
            assert (await ostiary.ask("incoming", KNOWN))["OSTIARY_REASON"] == "known"


async def test_the_worker_killed_again_and_again_costs_no_call(config: Path, port: int) -> None:
    with process(config) as server:
        await until_answering(port)
        last = 0
        for _ in range(3):
            last = await _worker_after(server.pid, last)
            os.kill(last, signal.SIGKILL)
            assert await verdict(port) == ("allow", "known")
        await _until_on_record(config, 3)
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 30) == 0
    async with serving(load_settings(config, environ={}), config) as ostiary:
        assert len(await ostiary.rows("SELECT 1 FROM calls")) == 3


async def _worker_after(pid: int, last: int) -> int:
    """Return the server's only child, once that is another than the last one."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    async with asyncio.timeout(90):
        while not (found := [int(each) for each in path.read_text().split() if int(each) != last]):
            await asyncio.sleep(0.02)
    (worker,) = found
    return worker


async def _until_on_record(config: Path, calls: int) -> None:
    there = House(load_settings(config, environ={}), "", 0)
    await there.until_row(f"SELECT 1 FROM calls LIMIT 1 OFFSET {calls - 1}")


async def test_a_corrupt_database_lets_every_call_in(config: Path, port: int) -> None:
    database = config.parent / "ostiary.db"
    database.write_bytes(b"this was a database" * 1000)
    with process(config):
        await until_answering(port)
        assert await verdict(port) == ("allow", "error")
        told = await ask("127.0.0.1", port, "contacto_insert_salesforce", query={"data": "1"})
        assert told.variables == {"OSTIARY_CONTACT": "", "CLAVESF": ""}
        added = await ask("127.0.0.1", port, "blacklist_add", query={"number": "+4930111222"})
        assert added.variables == {"OSTIARY_RESULT": "failed"}
    assert "damaged" in log_of(config)
    assert "Traceback" not in log_of(config)


async def test_a_database_that_breaks_and_is_mended_while_we_serve(config: Path, port: int) -> None:
    database = config.parent / "ostiary.db"
    sound = config.parent / "sound.db"
    shutil.copy(database, sound)
    with process(config):
        await until_answering(port)
        assert await verdict(port) == ("allow", "known")
        for part in config.parent.glob("ostiary.db*"):
            part.unlink()
        database.write_bytes(b"rubbish" * 1000)
        await _until_verdict(port, ("allow", "error"))  # what was read before may serve for a moment
        database.unlink()
        shutil.copy(sound, database)
        await _until_verdict(port, ("allow", "known"))
        assert await verdict(port, "+4930900900") == ("block", "blacklist-exact")


@pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: a read-only database, which needs root to drop its rights"
)
async def test_a_read_only_database_still_answers(config: Path, port: int, tmp_path: Path) -> None:
    """As another user who may read but not write."""
    async with serving(load_settings(config, environ={}), config) as ostiary:
        assert (await ostiary.ask("incoming", KNOWN))["OSTIARY_REASON"] == "known"
    (config.parent / "ostiary.db").chmod(0o444)
    config.parent.chmod(0o555)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):  # made by pytest, for its own user only
            parent.chmod(parent.stat().st_mode | 0o055)
    log = config.parent / "serve.log"
    log.touch()
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with process(config, prefix=command):
        await until_answering(port)
        assert (await verdict(port))[0] == "allow"
        told = await ask("127.0.0.1", port, "contacto_insert_salesforce", query={"data": "1"})
        assert told.variables["CLAVESF"] == ""
    config.parent.chmod(0o755)
    assert "Traceback" not in log_of(config)


async def test_a_full_disk_costs_writes_and_no_call(config: Path, port: int) -> None:
    """No file may grow beyond what the database has now: to SQLite that is a full disk."""
    size = (config.parent / "ostiary.db").stat().st_size

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    with process(config, before=bound):
        await until_answering(port)
        failed = 0
        for number in range(200):
            told = await ask(
                "127.0.0.1", port, "contacto_insert_salesforce", query={"data": f"{number}" * 100}
            )
            failed += told.variables["CLAVESF"] == ""
            assert await verdict(port) == ("allow", "known")
        assert failed
    assert "Traceback" not in log_of(config)


@pytest.mark.slow
async def test_restarts_on_an_inherited_socket_lose_no_call(config: Path, port: int) -> None:
    """What systemd does with ostiary.socket: it holds the socket, servers come and go."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        descriptor = listener.fileno()
        asked: list[str] = []
        stop = asyncio.Event()

        async def keep_asking() -> None:
            while not stop.is_set():
                told = (await ask("127.0.0.1", port, "incoming", number=KNOWN, timeout=120)).variables
                asked.append(told.get("OSTIARY_ACTION", "lost"))

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        for _ in range(3):
            with process(config, inherited=descriptor) as server:
                served = len(asked)
                async with asyncio.timeout(90):
                    while len(asked) < served + 50:
                        await asyncio.sleep(0.01)
                server.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.wait, 30) == 0
        stop.set()
        with process(config, inherited=descriptor):
            await asyncio.gather(*asking)
    assert set(asked) == {"allow"}
    assert len(asked) >= 150


async def test_personal_data_stays_out_of_the_log(config: Path, port: int) -> None:
    with process(config) as server:
        await until_answering(port)
        await ask("127.0.0.1", port, "incoming", number=KNOWN, name="Ana")
        await ask("127.0.0.1", port, "incoming", number="+4930900900")
        await ask(
            "127.0.0.1", port, "contacto_insert_salesforce", query={"data": "31987456", "ani": "+33199001234"}
        )
        await ask("127.0.0.1", port, "blacklist_add", query={"number": "+33199001234"})
        server.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait, 20)
    text = log_of(config)
    assert "exact" in text
    for secret in ("23125010", "Muñoz", "30900900", "31987456", "199001234"):
        assert secret not in text


async def test_personal_data_where_a_setting_says_so(tmp_path: Path, port: int) -> None:
    config = write_settings(tmp_path, port=port, more="[logs]\npersonal_data = true\n")
    await furnish(load_settings(config, environ={}))
    with process(config):
        await until_answering(port)
        await verdict(port)
        await until_logged(config, "Ana Mu")


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_thousand_calls_leave_no_descriptor_behind(tmp_path: Path) -> None:
    async with house(tmp_path) as ostiary:
        for _ in range(50):
            await ostiary.ask("incoming", KNOWN)
        before = _open_descriptors()
        for _ in range(1000):
            await ostiary.ask("incoming", KNOWN)
        async with asyncio.timeout(90):
            while _open_descriptors() > before:
                await asyncio.sleep(0.01)


# Salesforce


def _with_salesforce(server: OrgServer, **more: object) -> str:
    section = {**server.settings(), "sync_interval": 3600, **more}
    return "[salesforce]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in section.items())


async def _looked_up(ostiary: House, number: str) -> tuple[str, str]:
    """Ask; return how the look-up ended and the name shown."""
    outcome = await ostiary.outcome("incoming", number, query={"trace": "1"})
    steps = [json.loads(line.removeprefix(MARK)) for line in outcome.verbose]
    ends = [each[1] for each in steps if each[0] == "lookup"]
    return "".join(ends), outcome.variables.get("CALLERID(name)", "")


async def test_a_caller_who_is_new_in_salesforce_is_known_by_name(tmp_path: Path) -> None:
    with closing(Org()) as org, running(org) as server:
        # Nothing but a look-up can tell of what is made after the first round.
        more = _with_salesforce(server, lookup=True, lookup_deadline=10)
        async with house(tmp_path, more, deadline=30) as ostiary:
            async with asyncio.timeout(90):
                while await _looked_up(ostiary, "+33199001234") == ("not_asked", ""):
                    await asyncio.sleep(0.05)
                await ostiary.until_row("SELECT 1 FROM salesforce_state WHERE name = 'last'")
            org.create("Contact", {"LastName": "Curie", "FirstName": "Pierre", "Phone": "+33 199 00 99 98"})
            assert await _looked_up(ostiary, "+33199009998") == ("found", "Pierre Curie")
            assert await _looked_up(ostiary, "+33199009998") == ("", "Pierre Curie")
            assert (await _looked_up(ostiary, "+33199001234"))[0] == "unknown"


async def test_salesforce_away_is_degraded_and_ready(tmp_path: Path) -> None:
    with closing(Org()) as org, running(org) as server:
        config = write_settings(tmp_path, more=_with_salesforce(server))
        server.close_port()
        http = free_port()
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("enabled = false", f'listen = "127.0.0.1:{http}"'), encoding="utf-8")
        settings = load_settings(config, environ={})
        await furnish(settings)
        async with (
            serving(settings, config) as ostiary,
            httpx.AsyncClient(trust_env=False, timeout=60) as web,
        ):
            async with asyncio.timeout(90):
                while True:
                    with suppress(httpx.ConnectError):
                        answer = await web.get(f"http://127.0.0.1:{http}/readyz")
                        told = answer.json()["parts"]["salesforce"]
                        if "127.0.0.1" in told:
                            break
                    await asyncio.sleep(0.05)
            assert told.startswith("degraded: ")
            assert answer.status_code == 200
            shown = (await web.get(f"http://127.0.0.1:{http}/metrics")).text
            assert "ostiary_salesforce_up 0.0" in shown
            assert 'ostiary_salesforce_sync_errors_total{kind="down"} 1.0' in shown
            assert (await ostiary.ask("incoming", KNOWN))["OSTIARY_REASON"] == "known"


async def test_the_worker_runs_for_salesforce_alone(tmp_path: Path) -> None:
    with closing(Org()) as org, running(org) as server:
        org.create("Contact", {"LastName": "Curie", "Phone": "+33199009999"})
        more = _with_salesforce(server) + "[journal]\nenabled = false\n"
        async with house(tmp_path, more) as ostiary:
            await ostiary.until_row("SELECT 1 FROM contacts WHERE name = 'Curie'")
            assert (await ostiary.ask("incoming", "+33199009999"))["CALLERID(name)"] == "Curie"
