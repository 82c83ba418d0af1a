"""Settings: where values come from, what is refused, and how that is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from agi_server import settings_file
from agi_server.errors import SettingsError
from agi_server.settings import SECTIONS, VARIABLES, Settings, Storage, variable
from agi_server.settings_file import load_settings, storage_url
from agi_server.settings_mistakes import line_numbers
from agi_server.settings_pages import render_example, render_reference

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_default_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings_file, "DEFAULT_FILES", (tmp_path / "etc.toml", tmp_path / "here.toml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ostiary.toml"


def load(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return load_settings(file, environ)


def mistakes(file: Path, text: str, **environ: str) -> list[str]:
    """Return the lines of the error, the file's path shortened to its name."""
    with pytest.raises(SettingsError) as caught:
        load(file, text, **environ)
    lines = str(caught.value).replace(str(file.parent) + "/", "").split("\n  ")
    return lines if len(lines) == 1 else lines[1:]


def mistake(file: Path, text: str, **environ: str) -> str:
    [only] = mistakes(file, text, **environ)
    return only


# which file


def test_without_any_file_everything_is_at_its_default() -> None:
    assert load_settings(None, {}) == Settings()


def test_the_file_named_on_the_command_line_comes_first(tmp_path: Path) -> None:
    for name in ("named", "variable", "etc", "here"):
        (tmp_path / f"{name}.toml").write_text(f'[ami]\nhost = "{name}"\n')
    environ = {"OSTIARY_CONFIG": str(tmp_path / "variable.toml")}
    assert load_settings(tmp_path / "named.toml", environ).ami.host == "named"
    assert load_settings(None, environ).ami.host == "variable"
    assert load_settings(None, {"OSTIARY_CONFIG": ""}).ami.host == "etc"
    (tmp_path / "etc.toml").unlink()
    assert load_settings(None, {}).ami.host == "here"


def test_the_default_files_are_those_of_the_manual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert list(map(str, settings_file.DEFAULT_FILES)) == ["/etc/ostiary/ostiary.toml", "ostiary.toml"]


def test_a_named_file_that_is_missing_is_an_error(file: Path) -> None:
    with pytest.raises(
        SettingsError, match=rf"{re.escape(str(file))}: there is no such .* \(--config names it\)"
    ):
        load_settings(file, {})
    with pytest.raises(SettingsError, match=r"ostiary.toml: there is no such .* \(OSTIARY_CONFIG names it\)"):
        load_settings(None, {"OSTIARY_CONFIG": str(file)})


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "etc.toml").mkdir()
    with pytest.raises(SettingsError, match=r"etc.toml: the settings file cannot be read: Is a directory"):
        load_settings(None, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[fastagi]\nlisten = 127.0.0.1\n", r"ostiary.toml, line 2: not TOML: .*\(column \d+\)$"),
        ("[ami]\nport = 1\n[ami]\n", r"ostiary.toml, line 3: not TOML: .*twice"),
        ("[ami]\nport =", r"ostiary.toml, line 2: not TOML: .*end of document"),
    ],
)
def test_what_is_not_toml_is_named_by_line(file: Path, text: str, expected: str) -> None:
    assert re.search(expected, mistake(file, text))


def test_what_is_not_utf8_is_named_by_line(file: Path) -> None:
    file.write_bytes(b'[naming]\nanonymous_name = "\xe9"\n')
    with pytest.raises(SettingsError, match=r"ostiary.toml, line 2: not UTF-8"):
        load_settings(file, {})


def test_a_file_saved_on_windows_is_read(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf[naming]\r\nanonymous_name = "x"\r\nmax_length = 0\r\n')
    with pytest.raises(SettingsError, match=r"line 3: naming.max_length"):
        load_settings(file, {})


# mistakes in the file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[fastagi]\n\nlisen = "127.0.0.1:4573"\n',
            "ostiary.toml, line 3: fastagi.lisen is no setting; did you mean listen?",
        ),
        (
            '[fastagi]\nregion = "DE"\n',
            "ostiary.toml, line 2: fastagi.region is no setting; did you mean numbers.region?",
        ),
        ("[http]\nqqq = 1\n", "ostiary.toml, line 2: http.qqq is no setting; there are enabled, listen"),
        (
            "# x\n[fastag]\ndeadline = 1\n",
            "ostiary.toml, line 2: [fastag] is no section; did you mean fastagi?",
        ),
        (
            "deadline = 1\n",
            "ostiary.toml, line 1: deadline stands outside a section; did you mean fastagi.deadline?",
        ),
        (
            'fastagi.deadline = "soon"',
            'ostiary.toml, line 1: fastagi.deadline should be a number, not "soon"',
        ),
        (
            '[fastagi]\ndeadline = "1"',
            'ostiary.toml, line 2: fastagi.deadline should be a number, not "1"',
        ),
        (
            "[fastagi]\ndeadline = true",
            "ostiary.toml, line 2: fastagi.deadline should be a number, not true",
        ),
        (
            "[fastagi]\ndeadline = 61",
            "ostiary.toml, line 2: fastagi.deadline should be less than or equal to 60, not 61",
        ),
        (
            "[fastagi]\ndeadline = nan",
            "ostiary.toml, line 2: fastagi.deadline should be ",
        ),
        (
            "[fastagi]\nconnections = 1.5",
            "ostiary.toml, line 2: fastagi.connections should be a whole number, not 1.5",
        ),
        (
            '[http]\nenabled = "yes"',
            'ostiary.toml, line 2: http.enabled should be true or false, not "yes"',
        ),
        ("[ami]\nhost = 5", "ostiary.toml, line 2: ami.host should be text in quotes, not 5"),
        ('[fastagi]\npeers = "::1"', 'ostiary.toml, line 2: fastagi.peers should be a list, not "::1"'),
        (
            '[fastagi]\npeers = [\n  "::1",\n  "10.1.0.1/8",\n]',
            'ostiary.toml, line 2: fastagi.peers[1] should be a network: write 10.0.0.0/8, not "10.1.0.1/8"',
        ),
        (
            "[fastagi]\npeers = [3]",
            "ostiary.toml, line 2: fastagi.peers[0] should be a network: write e.g. 192.168.7.0/24",
        ),
        (
            '[logs]\nlevel = "loud"',
            "ostiary.toml, line 2: logs.level should be 'debug', 'info', 'warning' or 'error', not \"loud\"",
        ),
        ("fastagi = 3", "ostiary.toml, line 1: fastagi should be a section, [fastagi]"),
        (
            '[numbers]\n[[numbers.reformat]]\nmach = "0"\nmatch = "0"\nreplace = "1"',
            "ostiary.toml, line 3: numbers.reformat[0].mach is no setting; did you mean match?",
        ),
        (
            '[[numbers.reformat]]\nmatch = "0"\nreplace = ""\n[[numbers.reformat]]\nmatch = "0"',
            "ostiary.toml, line 4: numbers.reformat[1].replace is missing",
        ),
        (
            '[[numbers.reformat]]\nmatch = "("\nreplace = ""',
            "ostiary.toml, line 1: numbers.reformat[0] cannot be used: match '(' of",
        ),
        (
            '[numbers]\nreformat = ["x"]',
            "ostiary.toml, line 2: numbers.reformat[0] should be a table such as {match",
        ),
        (
            '[numbers]\nown_extensions = "("',
            "ostiary.toml, line 2: numbers.own_extensions should be an RE2 pattern: ",
        ),
        (
            '[numbers]\nregion = "Germany"',
            "ostiary.toml, line 2: numbers.region should be an ISO 3166 country code in capitals, e.g. DE",
        ),
        (
            '[routing]\ntimezone = "Berlin"',
            'ostiary.toml, line 2: routing.timezone should be a time zone, e.g. Europe/Berlin, not "Berlin"',
        ),
        (
            '[routing]\nholidays = ["12-25", "02-30"]',
            "ostiary.toml, line 2: routing.holidays[1] should be a day: YYYY-MM-DD,",
        ),
        (
            '[routing]\nfallback = "601,tT"',
            "ostiary.toml, line 2: routing.fallback should hold nothing but letters, digits",
        ),
        (
            "[matching]\ntail_digits = 3",
            "ostiary.toml, line 2: matching.tail_digits should be 0 (off) or 6 and more",
        ),
        (
            '[http]\nlisten = "8080"',
            "ostiary.toml, line 2: http.listen should be an address: 127.0.0.1:4573, ",
        ),
        (
            '[salesforce]\nlogin_url = "http://login.example"',
            "ostiary.toml, line 2: salesforce.login_url should begin with https://: plain http",
        ),
        (
            '[salesforce]\nlogin_url = "login.example"',
            "ostiary.toml, line 2: salesforce.login_url should be a web address: https://…",
        ),
        (
            "[salesforce]\nfilters = { Lead = \"WHERE Status = 'New'\" }",
            "ostiary.toml, line 2: salesforce.filters should be what follows WHERE in SOQL",
        ),
        (
            '[salesforce]\nfield_map = { "Contact.phone" = "X__c" }',
            "ostiary.toml, line 2: salesforce.field_map 'Contact.phone' should be e.g. Contact.name",
        ),
        (
            '[salesforce]\nfield_map = { "Contact.name" = "X FROM User" }',
            "ostiary.toml, line 2: salesforce.field_map 'X FROM User' should be the API name of a field",
        ),
        (
            '[salesforce]\nnumber_fields = ["WhatsApp__c"]',
            "ostiary.toml, line 2: salesforce.number_fields[0] should be an object and the API name",
        ),
        (
            '[[salesforce.create]]\nobject = "Lead"\nfields = { LastName = "[Name]" }',
            "ostiary.toml, line 1: salesforce.create[0] cannot be used: ",
        ),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(file: Path, text: str, expected: str) -> None:
    assert mistake(file, text).startswith(expected)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = "[http]\nport = 80\n[fastagi]\ndeadline = -1\n[fast]\n"
    lines = mistakes(file, text, OSTIARY_AMI__PORT="many", OSTIARY_AMI__PROT="1")
    assert [line.split(":")[0] for line in lines] == [
        "OSTIARY_AMI__PROT",
        "OSTIARY_AMI__PORT",
        "ostiary.toml, line 2",
        "ostiary.toml, line 4",
        "ostiary.toml, line 5",
    ]
    with pytest.raises(SettingsError, match=r"^5 mistakes in the settings:\n"):
        load(file, text, OSTIARY_AMI__PORT="many", OSTIARY_AMI__PROT="1")


def test_plain_http_is_accepted_for_loopback(file: Path) -> None:
    for url in ("http://127.0.0.1:9000", "http://localhost", "http://[::1]:80", "https://login.example"):
        assert load(file, f'[salesforce]\nlogin_url = "{url}"').salesforce.login_url == url
    for url in ("http://127.0.0.1.example", "http://localhost@evil.example", "ftp://127.0.0.1", "http://"):
        assert "salesforce.login_url should" in mistake(file, f'[salesforce]\nlogin_url = "{url}"')


def test_a_table_in_the_environment_is_json(file: Path) -> None:
    filters = {"Lead": "Status <> 'Junk'"}
    settings = load(file, "", OSTIARY_SALESFORCE__FILTERS=json.dumps(filters))
    assert settings.salesforce.filters == filters
    for text in ("Lead: x", '{"Lead": 1}', '{"Task": "x"}', "[]"):
        assert "OSTIARY_SALESFORCE__FILTERS" in mistake(file, "", OSTIARY_SALESFORCE__FILTERS=text)


def test_a_bare_date_is_a_holiday(file: Path) -> None:
    assert load(file, '[routing]\nholidays = [2026-04-06, "02-29"]').routing.holidays == (
        "2026-04-06",
        "02-29",
    )


def test_defaults_are_valid() -> None:
    for section in SECTIONS:
        given = getattr(Settings(), section).model_dump()
        assert type(getattr(Settings(), section)).model_validate(given) == getattr(Settings(), section)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().http.listen = "127.0.0.1:1"


# lines


@given(st.data())
def test_lines_are_those_on_which_statements_begin(data: st.DataObject) -> None:
    text, line = "", 1
    expected: dict[tuple[str | int, ...], int] = {}
    for section in range(data.draw(st.integers(0, 4))):
        text += f"[s{section}]\n"
        expected[f"s{section}",] = line
        line += 1
        for key in range(data.draw(st.integers(0, 3))):
            junk = data.draw(st.sampled_from(["", "# [s9]\n", "\n\n", "# k0 = 1\n"]))
            value = data.draw(
                st.sampled_from(
                    ["1", '"x"', "[\n1,\n2,\n]", '"""\n[s1]\nk0 = 3\n"""', "{ a = 1 }", '""', "'''\n'''"]
                )
            )
            text += f"{junk}k{key} = {value}\n"
            line += junk.count("\n")
            expected[f"s{section}", f"k{key}"] = line
            line += value.count("\n") + 1
    found = line_numbers(text)
    assert {path: found[path] for path in expected} == expected


# the environment


def test_variables_win_over_the_file(file: Path) -> None:
    text = '[ami]\nport = 1\nhost = "file"\n'
    settings = load(
        file, text, OSTIARY_AMI__PORT="2", OSTIARY_HTTP__ENABLED="off", OSTIARY_FASTAGI__DEADLINE="2.5"
    )
    assert (settings.ami.port, settings.ami.host) == (2, "file")
    assert settings.http.enabled is False
    assert settings.fastagi.deadline == 2.5


@pytest.mark.parametrize("text", ["10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]', "10.0.0.0/8,::1,"])
def test_a_list_is_json_or_comma_separated(file: Path, text: str) -> None:
    settings = load(file, "", OSTIARY_FASTAGI__PEERS=text)
    assert settings.fastagi.peers == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_a_list_may_be_empty(file: Path) -> None:
    assert load(file, "", OSTIARY_FASTAGI__PEERS="").fastagi.peers == ()


def test_a_list_of_tables_is_json(file: Path) -> None:
    settings = load(file, "", OSTIARY_NUMBERS__REFORMAT='[{"match": "00(.*)", "replace": "+\\\\1"}]')
    assert settings.numbers.reformat[0].replace == r"+\1"


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("YES", True), ("1", True), ("on", True), ("no", False), ("0", False)]
)
def test_booleans(file: Path, text: str, *, value: bool) -> None:
    assert load(file, "", OSTIARY_LOGS__PERSONAL_DATA=text).logs.personal_data is value


def test_an_empty_path_is_none(file: Path) -> None:
    assert load(file, "", OSTIARY_AMI__SECRET_FILE="").ami.secret_file is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OSTIARY_FASTAGI__LISEN", "x", "no such setting; did you mean OSTIARY_FASTAGI__LISTEN?"),
        ("OSTIARY_FASTAGI_LISTEN", "x", "no such setting; did you mean OSTIARY_FASTAGI__LISTEN?"),
        ("OSTIARY_Q__Q", "x", "no such setting; `ostiary settings --reference` lists those there are"),
        ("OSTIARY_FASTAGI__DEADLINE", "soon", 'fastagi.deadline should be a number, not "soon"'),
        ("OSTIARY_AMI__PORT", "0", "ami.port should be greater than or equal to 1, not 0"),
        ("OSTIARY_HTTP__ENABLED", "maybe", 'http.enabled should be true or false, not "maybe"'),
        ("OSTIARY_ROUTING__HOLIDAYS", "[12-25", 'routing.holidays should be a list, not "[12-25"'),
        ("OSTIARY_AMI__HOST", "\udce9", "not UTF-8"),
    ],
)
def test_a_wrong_variable_is_named(file: Path, name: str, value: str, expected: str) -> None:
    assert mistake(file, "", **{name: value}) == f"{name}: {expected}"


def test_other_variables_are_not_settings(file: Path) -> None:
    assert (
        load(file, "", OSTIARY_CONFIG="/nowhere", OSTIARY_TEST_CACHE="/x", HOME="/", OSTIARYX__Y="1")
        == Settings()
    )


@given(
    section_key=st.sampled_from(sorted(VARIABLES.values())),
    text=st.text(st.characters(codec="utf-8"), max_size=30),
)
@example(("ami", "secret_file"), "\0")
@example(("storage", "state_directory"), "\0")
def test_no_variable_makes_anything_but_settings_or_a_settings_error(
    section_key: tuple[str, str], text: str
) -> None:
    section, key = section_key
    try:
        settings = load_settings(None, {variable(section, key): text})
    except SettingsError as error:
        assert variable(section, key) in str(error)  # noqa: PT017  # either outcome is fine
    else:
        value = getattr(getattr(settings, section), key)
        if get_origin(SECTIONS[section][key].annotation) is None and isinstance(value, str):
            assert value == text


# secrets


def test_a_secret_comes_from_a_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" s3cret \n")
    settings = load(file, f'[ami]\nsecret_file = "{tmp_path}/secret"')
    assert settings.ami.secret.get_secret_value() == " s3cret "
    assert "s3cret" not in repr(settings)


def test_the_later_source_decides_whether_value_or_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file")
    by_value, by_file = '[ami]\nsecret = "given"', f'[ami]\nsecret_file = "{tmp_path}/secret"'
    path = str(tmp_path / "secret")
    assert load(file, by_value, OSTIARY_AMI__SECRET_FILE=path).ami.secret.get_secret_value() == "from a file"
    assert load(file, by_file, OSTIARY_AMI__SECRET="v").ami.secret.get_secret_value() == "v"


def test_a_secret_given_twice_is_an_error(file: Path) -> None:
    assert mistake(file, '[ami]\nsecret = "s3cret"\nsecret_file = "/x"') == (
        "ostiary.toml, line 3: ami.secret_file is given beside ami.secret: give one"
    )
    lines = mistakes(file, "", OSTIARY_MQTT__URL="mqtt://u:s3cret@h", OSTIARY_MQTT__URL_FILE="/x")
    assert lines == ["OSTIARY_MQTT__URL_FILE: mqtt.url_file is given beside mqtt.url: give one"]


def test_a_secret_file_that_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xe9")
    for name, reason in (
        ("gone", "cannot be read: No such file or directory"),
        ("empty", "is empty"),
        ("latin", "is not UTF-8"),
    ):
        text = f'\n[salesforce]\nclient_secret_file = "{tmp_path}/{name}"'
        assert mistake(file, text) == f"ostiary.toml, line 3: salesforce.client_secret_file: {name} {reason}"
    assert mistake(file, "", OSTIARY_AMI__SECRET_FILE=str(tmp_path / "gone")).startswith(
        "OSTIARY_AMI__SECRET_FILE: ami.secret_file: gone cannot be read"
    )


def test_systemd_credentials(file: Path, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "ami.secret").write_text("from systemd\n")
    (directory / "salesforce.private_key").write_text("PEM")
    (directory / "tls.key").write_text("not ours")
    (directory / "somethingelse").write_text("not ours")
    settings = load(file, '[ami]\nsecret = "file"', CREDENTIALS_DIRECTORY=str(directory))
    assert settings.ami.secret.get_secret_value() == "from systemd"
    assert settings.salesforce.private_key_file == directory / "salesforce.private_key"
    settings = load(file, "", CREDENTIALS_DIRECTORY=str(directory), OSTIARY_AMI__SECRET="variable")
    assert settings.ami.secret.get_secret_value() == "variable"


def test_wrong_credentials_are_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ami.secert").write_text("x")
    (tmp_path / "c" / "mqtt.url").write_text("http://s3cret")
    assert mistakes(file, "", CREDENTIALS_DIRECTORY=str(tmp_path / "c")) == [
        "credential ami.secert: no such secret; did you mean ami.secret?",
        "credential mqtt.url: mqtt.url should be an address such as mqtt://user:password@host:1883 or mqtts://host:8883",
    ]
    assert mistake(file, "", CREDENTIALS_DIRECTORY=str(tmp_path / "gone")) == (
        "gone ($CREDENTIALS_DIRECTORY): cannot be read: No such file or directory"
    )


def test_the_shipped_unit_names_credentials_that_exist() -> None:
    names = re.findall(r"LoadCredential=([^:\s]+):", (ROOT / "systemd" / "ostiary.service").read_text())
    assert names
    for name in names:
        section, key = name.split(".")
        assert key in SECTIONS[section]


SECRETS = [
    (section, key)
    for section in SECTIONS
    for key in SECTIONS[section]
    if (section, f"{key}_file") in VARIABLES.values()
]


@pytest.mark.parametrize(("section", "key"), SECRETS)
@pytest.mark.parametrize("value", ['"s3cret"', '["s3cret"]', '{a = "s3cret"}', '"mqtt://s3cret:p@h:x"'])
def test_no_error_shows_a_secret(file: Path, tmp_path: Path, section: str, key: str, value: str) -> None:
    (tmp_path / "secret").write_text("http://s3cret")
    for text in (
        f"[{section}]\n{key} = {value}\n[http]\nlisten = 1",
        f"[{section}]\n{key}x = {value}",
        f"{key} = {value}",
        f"[ami]\nport = 'x'\n[{section}]\n{key}_file = '{tmp_path}/secret'",
    ):
        assert not any("s3cret" in line for line in mistakes(file, text))


# the state directory


def test_the_default_database_is_in_the_state_directory(tmp_path: Path) -> None:
    settings = load_settings(None, {"OSTIARY_STORAGE__STATE_DIRECTORY": str(tmp_path / "a" / "b")})
    assert storage_url(settings) == f"sqlite+aiosqlite:///{tmp_path}/a/b/ostiary.db"
    assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o750
    assert storage_url(settings).startswith("sqlite+aiosqlite:////")  # four: an absolute path


def test_a_relative_state_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {"OSTIARY_STORAGE__STATE_DIRECTORY": "data"})
    assert storage_url(settings) == f"sqlite+aiosqlite:///{tmp_path}/data/ostiary.db"


def test_a_given_url_is_taken_as_it_is() -> None:
    settings = load_settings(None, {"OSTIARY_STORAGE__URL": "sqlite+aiosqlite:////nowhere/x.db"})
    assert storage_url(settings) == "sqlite+aiosqlite:////nowhere/x.db"


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """Be an ordinary user, and have a directory of root's (or one that may not be written)."""
    with tempfile.TemporaryDirectory() as directory:
        readable = Path(directory) / "readable"
        readable.mkdir()
        (readable / "ostiary.db").touch()
        readable.chmod(0o555)
        Path(directory).chmod(0o555)
        if os.geteuid() != 0:
            yield Path(directory)
        else:
            os.seteuid(65534)
            try:
                yield Path(directory)
            finally:
                os.seteuid(0)
        Path(directory).chmod(0o755)
        readable.chmod(0o755)


def test_a_database_that_can_only_be_read_is_read(ordinary_user: Path) -> None:
    settings = Settings(storage=Storage(state_directory=ordinary_user / "readable"))
    assert storage_url(settings).endswith("/readable/ostiary.db")


@pytest.mark.parametrize("inner", ["", "ostiary"])
def test_a_directory_that_cannot_be_written_says_what_to_set(ordinary_user: Path, inner: str) -> None:
    directory = ordinary_user / inner
    settings = Settings(storage=Storage(state_directory=directory))
    with pytest.raises(SettingsError) as caught:
        storage_url(settings)
    assert str(directory) in str(caught.value)
    assert "set storage.state_directory (OSTIARY_STORAGE__STATE_DIRECTORY)" in str(caught.value)
    assert f"uid {os.geteuid()}" in str(caught.value)


def test_a_file_in_the_place_of_the_state_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load_settings(None, {"OSTIARY_STORAGE__STATE_DIRECTORY": str(tmp_path / "file")})
    with pytest.raises(SettingsError, match="File exists"):
        storage_url(settings)


# the pages made from the table


def test_the_example_is_made_from_the_table() -> None:
    assert (ROOT / "ostiary.example.toml").read_text() == render_example()


def test_the_reference_is_made_from_the_table() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == render_reference()


def test_the_example_holds_every_setting_and_nothing_in_force(file: Path) -> None:
    assert load(file, render_example()) == Settings()
    sections: dict[str, list[str]] = {}
    for line in render_example().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif found := re.match(r"#(\w+) = ", line):
            sections[list(sections)[-1]].append(found[1])
    assert sections == {section: list(SECTIONS[section]) for section in SECTIONS}


def test_the_example_uncommented_gives_the_defaults(file: Path) -> None:
    text = re.sub(r"(?m)^#(?=\w+ = )", "", render_example())
    assert text.count("\n#") < render_example().count("\n#")
    assert load(file, text) == Settings()


def test_the_examples_of_the_example_are_valid(file: Path) -> None:
    text = re.sub(r"(?m)^# Example: ", "", render_example())
    settings = load(file, text)
    assert settings.numbers.reformat[0].replace == r"+49\1"
    assert settings.routing.holidays == ("12-25", date(2026, 4, 6).isoformat())


def test_every_setting_has_help_and_times_have_a_unit() -> None:
    for section, fields in SECTIONS.items():
        for key, info in fields.items():
            assert info.description, (section, key)
            assert info.description.endswith("."), (section, key)
            if re.search(r"deadline|drain|seconds|minutes|_days|interval|bytes|lines|max_length", key):
                extra: Any = info.json_schema_extra
                assert extra["unit"], (section, key)


# start


def test_loading_is_quick(file: Path) -> None:
    file.write_text(render_example())
    code = (
        "import sys, pathlib, agi_server.settings_file as f; f.load_settings(pathlib.Path(sys.argv[1]), {})"
    )
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, str(file)], check=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 2  # some 0.2 s with the start of Python; a machine that is busy takes longer


def test_loading_imports_nothing_heavy() -> None:
    code = "import sys, agi_server.settings_file as f; f.load_settings(None, {}); print(*sys.modules)"
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environ, cwd=ROOT
    )
    heavy = {
        "sqlalchemy",
        "fastapi",
        "phonenumbers",
        "re2",
        "alembic",
        "uvicorn",
        "asyncio",
        "pydantic_settings",
    }
    assert not heavy & set(done.stdout.split())
