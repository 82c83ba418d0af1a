"""`ostiary check`: against real peers on loopback, well and ill."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from agi_server import __version__
from agi_server.ami import examine
from agi_server.cli import parts, peers
from agi_server.settings_file import load_settings
from tests.cdr.samples import record
from tests.cli.conftest import Ostiary
from tests.ports import free_port

Add = Callable[[str], None]


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "DEADLINE", 2.0)
    monkeypatch.setattr(parts, "ASTERISK", tmp_path / "asterisk")


@pytest.fixture
def settings(config: Path) -> Add:
    def add(text: str) -> None:
        config.write_text(config.read_text() + text)

    return add


def found(ostiary: Ostiary, *arguments: str, code: int = 0) -> dict[str, tuple[str, str]]:
    """Return part → (verdict, text and hint)."""
    findings = json.loads(ostiary("check", "--json", *arguments, code=code).stdout)
    return {each["part"]: (each["verdict"], f"{each['text']} {each['hint']}") for each in findings}


def test_a_fresh_machine_warns_but_does_not_fail(ostiary: Ostiary, config: Path) -> None:
    verdicts = found(ostiary)
    assert verdicts["settings"] == ("ok", f"{config} ")
    assert {part: verdict for part, (verdict, _) in verdicts.items()} == {
        "settings": "ok",
        "state directory": "ok",
        "disk space": "ok",
        "database": "warn",
        "contents": "off",
        "agents": "off",
        "time zone": "ok",
        "server": "warn",
        "HTTP": "warn",
        "dialplan": "off",
        "Salesforce": "off",
        "sync": "off",
        "AMI": "off",
        "CDR": "off",
        "MQTT": "off",
    }
    assert "ostiary migrate" in verdicts["database"][1]


def test_one_line_a_part(ostiary: Ostiary) -> None:
    lines = ostiary("check").stdout.splitlines()
    assert len(lines) == 15
    assert [line.split()[0] for line in lines[:2]] == ["ok", "ok"]
    assert (
        len({line.index(part) for line, part in zip(lines, ("settings", "state", "disk"), strict=False)}) == 1
    )


@pytest.mark.usefixtures("server")
def test_with_a_server(ostiary: Ostiary, config: Path) -> None:
    until_ready(load_settings(config, environ={}).http.listen)
    verdicts = found(ostiary, "--full")
    assert verdicts["server"][0] == "ok"
    assert __version__ in verdicts["server"][1]
    assert verdicts["HTTP"][0] == "ok"
    assert verdicts["database"][0] == "ok"
    assert "full check passed" in verdicts["database"][1]


def test_wrong_settings_fail_with_the_file(ostiary: Ostiary, config: Path, settings: Add) -> None:
    settings("colour = 'red'\n")
    verdicts = found(ostiary, code=1)
    assert list(verdicts) == ["settings"]
    assert str(config) in verdicts["settings"][1]


def test_a_crashing_check_is_a_finding(ostiary: Ostiary, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(_settings: object) -> object:
        raise ZeroDivisionError("of a test")

    monkeypatch.setattr(parts, "disk_space", crash)
    verdicts = found(ostiary, code=1)
    assert verdicts["disk space"] == ("FAIL", "the check itself failed: ZeroDivisionError: of a test ")
    assert verdicts["database"][0] == "warn"  # the others go on


def wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process is None or process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)  # between two tries
        else:
            return


def until_ready(listen: str) -> None:
    """Wait until the HTTP side says that every part is up: they come a moment after the first answer."""
    until = time.monotonic() + 20
    while True:
        with suppress(OSError), urlopen(f"http://{listen}/readyz", timeout=5) as answer:
            assert answer.status == 200
            return
        assert time.monotonic() < until
        time.sleep(0.02)  # between two tries


# --- on this machine ---


def test_a_state_directory_that_cannot_be(ostiary: Ostiary, state: Path, tmp_path: Path) -> None:
    state.rmdir()
    (tmp_path / "state").write_text("a file is in the way")
    verdicts = found(ostiary, code=1)
    assert verdicts["state directory"][0] == "FAIL"
    assert str(state) in verdicts["state directory"][1]


def test_little_space(ostiary: Ostiary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 500 * 1024**2))
    assert found(ostiary)["disk space"][0] == "warn"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 1024**2))
    assert found(ostiary, code=1)["disk space"][0] == "FAIL"


def test_a_damaged_database(ostiary: Ostiary, state: Path) -> None:
    ostiary("migrate")
    database = state / "ostiary.db"
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO audit (at, who, what, after) VALUES (1, 'x', 'y', ?)", [("z" * 3000,)] * 100
        )
    connection.close()
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(size - 200_000)
        file.write(b"\xff" * 150_000)
    verdicts = found(ostiary, code=1)
    assert verdicts["database"][0] == "FAIL"
    assert "ostiary restore" in verdicts["database"][1]


def test_a_database_of_a_later_version(ostiary: Ostiary, state: Path) -> None:
    ostiary("migrate")
    with sqlite3.connect(state / "ostiary.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert found(ostiary, code=1)["database"][0] == "FAIL"


def test_contents_and_agents(ostiary: Ostiary, state: Path) -> None:
    ostiary("agents", "add", "201", "--email", "ana@example.com")
    assert found(ostiary)["contents"][0] == "warn"  # nobody can be recognised
    with sqlite3.connect(state / "ostiary.db") as connection:
        connection.executescript(
            """
            INSERT INTO owners (id, email, salesforce_id) VALUES
                (1, 'ana@example.com', '005A'), (2, 'rui@example.com', '005B'), (3, 'idle@example.com', NULL);
            INSERT INTO contacts (name, owner_id) VALUES ('A', 1), ('B', 2), ('C', 2);
            """
        )
    connection.close()
    verdicts = found(ostiary)
    assert verdicts["contents"] == ("ok", "3 contacts, 1 agents, 0 rules, 0 DIDs ")
    assert verdicts["agents"][0] == "warn"
    assert "rui@example.com" in verdicts["agents"][1]
    assert "ana@" not in verdicts["agents"][1]
    assert "idle@" not in verdicts["agents"][1]
    ostiary("agents", "add", "202", "--salesforce-user", "005B")  # found by the id as well
    assert found(ostiary)["agents"][0] == "ok"


def test_agents_that_make_no_sense(ostiary: Ostiary, state: Path) -> None:
    ostiary("agents", "add", "201")
    with sqlite3.connect(state / "ostiary.db") as connection:
        connection.execute(
            "UPDATE agents SET hours = 'Mo 25:00', timezone = 'Nowhere/At_all', delegate_id = id"
        )
    connection.close()
    verdict, text = found(ostiary)["agents"]
    assert verdict == "warn"
    assert text.count("agent 201") == 3


def test_the_clock_is_that_of_the_company(ostiary: Ostiary) -> None:
    verdict, text = found(ostiary)["time zone"]
    assert verdict == "ok"
    assert re.search(r"Europe/Lisbon, where it is \w{3} \d\d:\d\d", text)


def test_the_dialplan_of_this_machine(ostiary: Ostiary, tmp_path: Path) -> None:
    (tmp_path / "asterisk").mkdir()
    (tmp_path / "asterisk/extensions.conf").write_text("[default]\n")
    assert found(ostiary)["dialplan"][0] == "warn"
    (tmp_path / "asterisk/extensions_custom.conf").write_text("#include ostiary.conf\n")
    assert found(ostiary)["dialplan"][0] == "ok"


# --- the server ---


def listener(handle: Callable[[socket.socket], None]) -> socketserver.ThreadingTCPServer:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(300)
            handle(self.request)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    return Listener(("127.0.0.1", 0), Handler)


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Listen with a handler; return the port."""
    running: list[socketserver.ThreadingTCPServer] = []

    def start(handle: Callable[[socket.socket], None]) -> int:
        server = listener(handle)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


Listen = Callable[[Callable[[socket.socket], None]], int]


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


@pytest.mark.parametrize("part", ["server", "HTTP"])
def test_a_mute_server_fails_in_time(ostiary: Ostiary, config: Path, listen: Listen, part: str) -> None:
    port = listen(say_nothing)
    lines = config.read_text().splitlines()
    index = next(i for i, line in enumerate(lines) if line == {"server": "[fastagi]", "HTTP": "[http]"}[part])
    lines[index + 1] = f'listen = "127.0.0.1:{port}"'
    config.write_text("\n".join(lines) + "\n")
    start = time.monotonic()
    assert found(ostiary, code=1)[part][0] == "FAIL"
    assert time.monotonic() - start < 60


# --- AMI ---


ALL = "CoreShowChannels DeviceStateList Originate Hangup Ping"


def asterisk(connection: socket.socket, secret: str = "right", *, may: str = ALL, tells: bool = True) -> None:
    """Greet, check a log-in and say what its user may do, as Asterisk's manager.c does."""
    connection.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    received = b""
    while data := connection.recv(4096):
        received += data
        while b"\r\n\r\n" in received:
            block, received = received.split(b"\r\n\r\n", 1)
            headers = dict(line.split(": ", 1) for line in block.decode().split("\r\n"))
            answer = {"Response": "Success", "ActionID": headers["ActionID"]}
            if headers["Action"] == "Login" and (headers["Username"], headers["Secret"]) != (
                "ostiary",
                secret,
            ):
                answer = {**answer, "Response": "Error", "Message": "Authentication failed"}
            elif headers["Action"] == "ListCommands":
                answer |= dict.fromkeys(may.split(), "What it does. (Priv: call,all)")
            say(connection, answer)
            if headers["Action"] == "Originate" and tells:
                response = {"Event": "OriginateResponse", "Privilege": "call,all", "Response": "Failure"}
                say(connection, {**response, "ActionID": headers["ActionID"]})


def say(connection: socket.socket, headers: dict[str, str]) -> None:
    connection.sendall("".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n")


def greet_and_go(connection: socket.socket) -> None:
    connection.sendall(b"Asterisk Call Manager/11.0.0\r\n")


def ami(port: int, secret: str = "right") -> str:
    return f'[ami]\nhost = "127.0.0.1"\nport = {port}\nusername = "ostiary"\nsecret = "{secret}"\n'


def test_ami_signs_in(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    settings(ami(listen(asterisk)))
    verdict, text = found(ostiary)["AMI"]
    assert verdict == "ok"
    assert "Asterisk Call Manager/11.0.0" in text


def test_ami_with_a_wrong_secret(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    settings(ami(listen(asterisk), secret="wr0ng"))
    result = ostiary("check", code=1)
    assert "refuses the user 'ostiary': Authentication failed" in result.stdout
    assert "wr0ng" not in result.output
    assert result.stderr == ""


def test_nothing_but_the_findings_is_printed(config: Path, settings: Add, listen: Listen) -> None:
    """As an admin sees it: the libraries log a lost connection, and must not here."""
    settings(ami(listen(greet_and_go)))
    settings(f'[mqtt]\nurl = "mqtt://127.0.0.1:{free_port()}"\n')
    command = [sys.executable, "-m", "agi_server", "--config", str(config), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout.splitlines()) == 15


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (say_nothing, "did not answer within 2 s"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "is not AMI: 'SSH-2.0"),
        (lambda connection: connection.sendall(b"x" * 100_000), "is not AMI"),
        (lambda _: None, "it closed the connection"),
        (greet_and_go, "no answer to the log-in: it closed the connection"),
    ],
    ids=["mute", "ssh", "flood", "closes", "closes-after-greeting"],
)
def test_what_is_not_ami(
    ostiary: Ostiary, settings: Add, listen: Listen, handle: Callable[[socket.socket], None], reason: str
) -> None:
    settings(ami(listen(handle)))
    start = time.monotonic()
    verdict, text = found(ostiary, code=1)["AMI"]
    assert (verdict, reason in text) == ("FAIL", True), text
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        (("Originate Hangup", True), ("FAIL", "write = reporting;")),
        ((ALL, False), ("FAIL", "read = call,agent,dialplan")),
        (("CoreShowChannels DeviceStateList", True), ("warn", "write = originate,call;")),
        ((f"{ALL} Command UpdateConfig", True), ("warn", "leave out of its user's write: command, config")),
    ],
    ids=["follow", "deaf", "dial", "too-much"],
)
def test_what_the_ami_user_may_do(
    ostiary: Ostiary,
    settings: Add,
    listen: Listen,
    monkeypatch: pytest.MonkeyPatch,
    *,
    rights: tuple[str, bool],
    expected: tuple[str, str],
) -> None:
    may, tells = rights
    verdict, reason = expected
    monkeypatch.setattr(examine, "HEAR_SECONDS", 10.0 if tells else 0.2)
    settings(ami(listen(lambda connection: asterisk(connection, may=may, tells=tells))))
    found_verdict, text = found(ostiary, code=int(verdict == "FAIL"))["AMI"]
    assert found_verdict == verdict
    assert reason in text


def test_a_user_who_need_not_dial(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    only = "CoreShowChannels DeviceStateList"
    settings(ami(listen(lambda connection: asterisk(connection, may=only))) + "[dialling]\nenabled = false\n")
    assert found(ostiary)["AMI"][0] == "ok"


def test_every_pbx_is_asked(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    other = '{{name = "{}", host = "127.0.0.1", port = {}, username = "ostiary", secret = "{}"}}'
    berlin = other.format("berlin", listen(asterisk), "right")
    lisbon = other.format("lisbon", listen(asterisk), "wr0ng")
    settings(ami(listen(asterisk)) + f"others = [{berlin}, {lisbon}]\n")
    verdict, text = found(ostiary, code=1)["AMI"]
    assert verdict == "FAIL"
    assert "pbx: signed in" in text
    assert "berlin: signed in" in text
    assert "lisbon: 127.0.0.1:" in text
    assert "lisbon: ami.username" in text
    assert "wr0ng" not in text


def test_pbxs_of_one_name(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    settings(
        ami(listen(asterisk)) + f'others = [{{name = "pbx", host = "127.0.0.1", port = {free_port()}}}]\n'
    )
    assert "two PBXs are called pbx" in found(ostiary, code=1)["AMI"][1]


def test_nobody_at_the_ami_port(ostiary: Ostiary, settings: Add) -> None:
    settings(ami(free_port()))
    verdict, text = found(ostiary, code=1)["AMI"]
    assert verdict == "FAIL"
    assert "cannot be reached" in text


# --- CDR ---


def test_a_file_of_call_records(ostiary: Ostiary, settings: Add, tmp_path: Path) -> None:
    file = tmp_path / "Master.csv"
    settings(f'[cdr]\ncsv_file = "{file}"\n')
    verdict, text = found(ostiary)["CDR"]
    assert (verdict, "first call" in text) == ("warn", True)
    file.write_bytes(record("4930200001"))
    verdict, text = found(ostiary)["CDR"]
    assert (verdict, "the last call ended 20" in text) == ("ok", True)
    cells = record("4930200002").decode().strip().split(",")
    file.write_text(",".join(cells[:16]) + "\n")  # loguniqueid = no
    verdict, text = found(ostiary, code=1)["CDR"]
    assert (verdict, "loguniqueid=yes" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("columns", "verdict", "word"),
    [
        ("calldate, duration, uniqueid, channel, disposition", "ok", "no call lately"),
        ("calldate, uniqueid", "FAIL", "it has no channel, disposition, duration"),
    ],
)
def test_a_table_of_call_records(
    ostiary: Ostiary, settings: Add, tmp_path: Path, *, columns: str, verdict: str, word: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "cdr.db")) as opened:
        opened.execute(f"CREATE TABLE cdr ({columns})")
    settings(f'[cdr]\nurl = "sqlite:///{tmp_path}/cdr.db"\n')
    said, text = found(ostiary, code=int(verdict == "FAIL"))["CDR"]
    assert (said, word in text) == (verdict, True)


def test_a_database_of_call_records_that_is_away(ostiary: Ostiary, settings: Add) -> None:
    settings(f'[cdr]\nurl = "mysql+pymysql://reader:s3cret@127.0.0.1:{free_port()}/asteriskcdrdb"\n')
    said, text = found(ostiary, code=1)["CDR"]
    assert said == "FAIL"
    assert "cdr.url" in text
    assert "s3cret" not in text


# --- MQTT ---

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """A real mosquitto that knows one user; its port."""
    assert MOSQUITTO is not None
    port = free_port()
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o644)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "ostiary", "p@ss:word"], check=True)
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", configuration], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: MQTT is not tested against a broker"
)
def test_mqtt_signs_in(ostiary: Ostiary, settings: Add, broker: int) -> None:
    settings(f'[mqtt]\nurl = "mqtt://ostiary:p%40ss%3Aword@127.0.0.1:{broker}"\n')
    assert found(ostiary)["MQTT"] == ("ok", f"signed in at 127.0.0.1:{broker} ")


@pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: MQTT is not tested against a broker"
)
@pytest.mark.parametrize("user", ["ostiary:wr0ng@", ""])
def test_mqtt_with_a_wrong_password(ostiary: Ostiary, settings: Add, broker: int, user: str) -> None:
    settings(f'[mqtt]\nurl = "mqtt://{user}127.0.0.1:{broker}"\n')
    result = ostiary("check", code=1)
    assert "Not authorized" in result.stdout
    assert "wr0ng" not in result.output


def test_no_broker(ostiary: Ostiary, settings: Add) -> None:
    settings(f'[mqtt]\nurl = "mqtt://127.0.0.1:{free_port()}"\n')
    assert "refused" in found(ostiary, code=1)["MQTT"][1]


def test_a_mute_broker_fails_in_time(ostiary: Ostiary, settings: Add, listen: Listen) -> None:
    settings(f'[mqtt]\nurl = "mqtt://127.0.0.1:{listen(say_nothing)}"\n')
    start = time.monotonic()
    assert found(ostiary, code=1)["MQTT"][0] == "FAIL"
    assert time.monotonic() - start < 60
