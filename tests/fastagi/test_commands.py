from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agi_server.errors import LocalProtocolError
from agi_server.fastagi.client import split_pairs, split_words
from agi_server.fastagi.commands import LINE_LIMIT, MAX_PAIRS, mset, verbose


def read(lines: list[bytes]) -> dict[str, str]:
    """Return what Asterisk's own parsers make of MSet lines."""
    variables: dict[str, str] = {}
    for line in lines:
        assert len(line) < LINE_LIMIT
        assert line.endswith(b"\n")
        assert re.search(rb"[\x00-\x1f\x7f]", line[:-1]) is None, "no second command, no cut string"
        command, application, options = split_words(line[:-1].decode())
        assert (command, application) == ("EXEC", "MSet")
        pairs = split_pairs(options)
        assert len(pairs) <= MAX_PAIRS
        for name, value in pairs:
            assert name not in variables
            variables[name] = value
    return variables


def meant(value: str) -> str:
    """Return what may be left of a value: all but control characters, and what UTF-8 cannot say."""
    cleaned = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", value.replace("\t", " "))
    return cleaned.encode("utf-8", "replace").decode()


NASTY = [
    "",
    "Erika Mustermann",
    'Erika "Rika" Mustermann',
    '"',
    '""""',
    "\\",
    "\\\\",
    "trailing\\",
    '\\"',
    'x\\" EXEC System "id',
    "a,b=c,d",
    ",",
    "Müller GmbH (Berlin) [Nord]",
    ")",
    "(",
    "](",
    "[[[",
    "a;b",
    "a\tb",
    "  outer spaces  ",
    "${EXTEN}",
    "$[1+1]",
    "=",
    "a=b",
    "名前 😀 \u2028\x85",
    "a\nb\rc\0d\x1be\x7f",
    'x"\nEXEC System "touch /tmp/owned',
    "\udc80",
]


@pytest.mark.parametrize("value", NASTY)
def test_nasty_values_arrive_as_they_are(value: str) -> None:
    variables = {
        "A": value,
        "CALLERID(name)": value,
        "CONNECTEDLINE(name,i)": value,
        "OSTIARY_ACTION": "allow",
    }
    assert read(mset(variables)) == {name: meant(text) for name, text in variables.items()}


def test_what_is_sent() -> None:
    assert mset({"CALLERID(name)": 'A "B" (C), D\\', "E": ""}) == [
        rb'EXEC MSet "CALLERID(name)=A \\\"B\\\" \\(C\\)\\, D\\\\,E="' + b"\n"
    ]
    assert mset({}) == []
    assert verbose('say "x" \\ (y),\nz', 3) == rb'VERBOSE "say \"x\" \\ (y),z" 3' + b"\n"


NAMES = [f"V{number}" for number in range(70)]


@given(st.lists(st.text(max_size=60), max_size=70))
def test_any_mapping_arrives_in_its_order(values: list[str]) -> None:
    variables = dict(zip(NAMES, values, strict=False)) | {"OSTIARY_ACTION": "allow"}
    arrived = read(mset(variables))
    assert list(arrived.items()) == [(name, meant(value)) for name, value in variables.items()]


@given(st.lists(st.text(alphabet='\\",()[] \n\0é😀a', max_size=30), max_size=30))
def test_characters_that_parsers_mind(values: list[str]) -> None:
    variables = dict(zip(NAMES, values, strict=False)) | {"OSTIARY_ACTION": "allow"}
    assert read(mset(variables)) == {name: meant(value) for name, value in variables.items()}


@given(st.text(alphabet='\\"(,é😀a\n', min_size=1), st.integers(500, 4000))
@example("\\", 2000)
@example("😀", 2000)
@example('a"', 2000)
def test_a_value_too_long_for_a_line_is_cut_at_its_end(piece: str, length: int) -> None:
    value = (piece * length)[:length]
    lines = mset({"A": "before", "LONG": value, "OSTIARY_ACTION": "allow"})
    arrived = read(lines)
    assert list(arrived) == ["A", "LONG", "OSTIARY_ACTION"]
    assert arrived["OSTIARY_ACTION"] == "allow"
    assert meant(value).startswith(arrived["LONG"])
    if arrived["LONG"] != meant(value):  # not one character less than fits
        assert max(map(len, lines)) > LINE_LIMIT - 1 - 8


def test_a_line_is_as_full_as_it_may_be() -> None:
    room = LINE_LIMIT - 1 - len(b'EXEC MSet "A="\n')
    (line,) = mset({"A": "x" * room})
    assert len(line) == LINE_LIMIT - 1
    first, second = mset({"A": "x" * room, "OSTIARY_ACTION": "allow"})
    assert len(first) == LINE_LIMIT - 1
    assert second == b'EXEC MSet "OSTIARY_ACTION=allow"\n'
    assert len(mset({"A": "x" * (room + 1)})[0]) == LINE_LIMIT - 1


def test_many_pairs_take_several_lines() -> None:
    variables = dict.fromkeys(NAMES, "")
    lines = mset(variables)
    assert len(lines) == -(-len(NAMES) // MAX_PAIRS)
    assert read(lines) == variables


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A B",
        "A=B",
        "A\n",
        "A\nEXEC",
        "1A",
        "A,B",
        "CALLERID(name",
        "CALLERID(name)x",
        "Ä",
        "A" * 81,
        "___A",
    ],
)
def test_names_are_checked(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="no name of a channel variable"):
        mset({"OSTIARY_ACTION": "allow", name: "x"})


@pytest.mark.parametrize("name", ["A", "_A", "__OSTIARY_X1", "CALLERID(name)", "CONNECTEDLINE(name,i)"])
def test_names_that_are_used(name: str) -> None:
    assert read(mset({name: "x"})) == {name: "x"}


@given(st.text(), st.integers(1, 4))
@example("\\" * 3000, 1)
def test_verbose_is_one_command_whatever_the_text(text: str, level: int) -> None:
    line = verbose(text, level)
    assert len(line) < LINE_LIMIT
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    command, shown, at_level = split_words(line[:-1].decode())
    assert (command, at_level) == ("VERBOSE", str(level))
    assert meant(text).startswith(shown)
    assert shown == meant(text) or len(line) > LINE_LIMIT - 8


@pytest.mark.parametrize("level", [0, 5, -1])
def test_verbosity_is_checked(level: int) -> None:
    with pytest.raises(LocalProtocolError, match="verbosity"):
        verbose("x", level)
