"""Signing in: the name we go by, and `ostiary check` beside a publisher that runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agi_server.cli import peers
from agi_server.cli.finding import Verdict
from agi_server.errors import SettingsError
from agi_server.events import broker as mqtt_broker
from agi_server.events.hub import Hub
from agi_server.settings import Settings
from tests.events.authority import make_authority
from tests.events.conftest import Broker, Publishing, settings_for, until

Value = Callable[..., float]


def test_the_name_is_stable_and_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = mqtt_broker.client_id(tmp_path)
    assert name == mqtt_broker.client_id(tmp_path)
    assert name != mqtt_broker.client_id(tmp_path / "other")
    monkeypatch.setattr("socket.gethostname", lambda: "pbx 1.example/ü" + "x" * 100)
    assert re.fullmatch(r"ostiary-pbx-1-example--x{17}-[0-9a-f]{8}", mqtt_broker.client_id(tmp_path))


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("mqtt://broker.example", ("broker.example", 1883)),
        ("mqtts://user:secret@broker.example", ("broker.example", 8883)),
        ("mqtt://[::1]:1884", ("::1", 1884)),
    ],
)
def test_where(url: str, where: tuple[str, int]) -> None:
    assert mqtt_broker.where(Settings.model_validate({"mqtt": {"url": url}})) == where


@given(user=st.text(min_size=1, max_size=20), password=st.text(min_size=1, max_size=20))
@hypothesis_settings(max_examples=30)
async def test_user_and_password_come_out_of_the_url(user: str, password: str) -> None:
    url = f"mqtt://{quote(user, safe='')}:{quote(password, safe='')}@broker.example"
    settings = Settings.model_validate({"mqtt": {"url": url}})
    connection = await mqtt_broker.connection(settings, answer_seconds=1.0)
    assert (connection._client.username, connection._client.password) == (user, password)


async def test_who_is_cancelled_when_the_answer_comes_is_cancelled(tmp_path: Path) -> None:
    connection = await mqtt_broker.connection(settings_for(1, tmp_path), answer_seconds=60.0)
    answer = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(connection._wait_for(answer, None))
    await asyncio.sleep(0)
    answer.set_result(None)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()


async def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    settings = settings_for(1, tmp_path, scheme="mqtts", ca_file=tmp_path / "gone.pem")
    with pytest.raises(SettingsError, match=r"mqtt\.ca_file.*gone\.pem.*No such file"):
        await mqtt_broker.connection(settings, answer_seconds=1.0)
    finding = await peers.mqtt(settings)
    assert (finding.verdict, "mqtt.ca_file" in finding.text) == (Verdict.FAIL, True)


async def test_check_does_not_throw_the_publisher_out(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path, value: Value
) -> None:
    await broker.start()
    async with publishing(broker.port):
        await until(lambda: value("ostiary_mqtt_up") == 1)
        finding = await peers.mqtt(settings_for(broker.port, tmp_path))
        assert finding.verdict is Verdict.OK
        assert broker.log.count("New client connected") == 2
        assert "already connected" not in broker.log
        assert value("ostiary_mqtt_up") == 1
    assert hub.calls is not None


async def test_check_with_tls(broker: Broker, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    broker.more += f"certfile {authority.certificate}\nkeyfile {authority.key}\n"
    await broker.start()
    settings = settings_for(broker.port, tmp_path, scheme="mqtts", ca_file=authority.ca)
    assert (await peers.mqtt(settings)).verdict is Verdict.OK


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a socket behind
async def test_check_with_an_authority_nobody_knows(broker: Broker, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    broker.more += f"certfile {authority.certificate}\nkeyfile {authority.key}\n"
    await broker.start()
    finding = await peers.mqtt(settings_for(broker.port, tmp_path, scheme="mqtts"))
    assert finding.verdict is Verdict.FAIL
    assert "certificate verify failed" in finding.text
    assert "mqtt.ca_file" in finding.hint
