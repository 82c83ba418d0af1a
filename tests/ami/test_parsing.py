"""AMI's bytes into messages, however they are cut and whatever is in them."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.ami.parsing import LONGEST, Message, Reader
from tests.ami.server import block

GREETING = b"Asterisk Call Manager/9.0.0\r\n"

names = st.from_regex(r"[A-Za-z][A-Za-z0-9()/-]{0,12}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)
messages = st.builds(
    lambda kind, headers: {"Event": kind, **headers},
    st.sampled_from(("Newchannel", "Hangup", "Ünïcode")),
    st.dictionaries(names.filter(lambda name: name not in {"Event", "Response"}), values, max_size=6),
)


def read(*chunks: bytes) -> tuple[list[Message], Counter[str]]:
    odd: Counter[str] = Counter()
    reader = Reader(lambda what: odd.update([what]))
    found = [message for chunk in (GREETING, *chunks) for message in reader.feed(chunk)]
    return found, odd


def chunks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=150)
def test_chunks_may_end_anywhere(sent: list[Message], cuts: list[int]) -> None:
    data = b"".join(map(block, sent))
    found, odd = read(*chunks_of(data, cuts))
    assert found == sent
    assert not odd


@given(st.integers(1, len(GREETING)))
def test_so_may_the_greeting(cut: int) -> None:
    reader = Reader(lambda _: None)
    data = GREETING + block({"Event": "A"})
    assert [*reader.feed(data[:cut]), *reader.feed(data[cut:])] == [{"Event": "A"}]
    assert reader.greeting == GREETING.decode().strip()


@given(st.lists(st.binary(max_size=60), max_size=20))
@settings(max_examples=200)
def test_nothing_raises(chunks: list[bytes]) -> None:
    for message in read(*chunks)[0]:
        assert "\r\n" not in "".join((*message, *message.values()))
        assert next(iter(message)) in {"Event", "Response"}


@given(st.text(st.characters(codec="utf-8"), max_size=79))
@settings(max_examples=300)
def test_what_a_caller_writes_into_an_event_changes_no_other(number: str) -> None:
    other = {"Event": "Newchannel", "Privilege": "call,all", "Uniqueid": "2.2", "Linkedid": "2.2"}
    own = [("Event", "Newstate"), ("CallerIDNum", number), ("Uniqueid", "1.1"), ("Linkedid", "1.1")]
    found, _ = read(block(other) + block(own) + block(other))
    assert found[0] == other == found[-1]
    assert len(found) >= 2


def test_a_header_that_comes_twice_is_left_out() -> None:
    found, odd = read(
        block(
            [
                ("Event", "Newstate"),
                ("CallerIDNum", "1\r\nUniqueid: 9.9"),
                ("Uniqueid", "1.1"),
                ("Exten", "s"),
            ]
        )
    )
    assert found == [{"Event": "Newstate", "CallerIDNum": "1", "Exten": "s"}]
    assert odd == {"header twice": 1}


def test_a_message_is_what_it_begins_with() -> None:
    number = "1\r\nEvent: Hangup\r\nActionID: x\r\nPrivilege: y"
    sent = [("Event", "Newstate"), ("Privilege", "call,all"), ("ActionID", "1"), ("CallerIDNum", number)]
    assert read(block(sent)) == (
        [{"Event": "Newstate", "Privilege": "call,all", "ActionID": "1", "CallerIDNum": "1"}],
        {"header twice": 1},
    )


def test_the_rest_of_a_message_that_was_cut_in_two_is_none() -> None:
    forged = "1\r\n\r\nEvent: Hangup\r\nUniqueid: 9.9\r\n"
    found, odd = read(block([("Event", "Newstate"), ("CallerIDNum", forged + "\r\n"), ("Uniqueid", "1.1")]))
    assert found == [
        {"Event": "Newstate", "CallerIDNum": "1"},
        {"Event": "Hangup", "Uniqueid": "9.9"},
    ]
    assert odd == {"no message": 1}


def test_values_keep_their_spaces_and_colons() -> None:
    sent = {"Event": "VarSet", "Value": "  a: b ", "Empty": "", "ChanVariable(x)": "y: z"}
    assert read(block(sent))[0] == [sent]
    assert read(b"Event: A\r\nTight:b\r\n\r\n")[0] == [{"Event": "A", "Tight": "b"}]


def test_variables_an_admin_asked_for_may_come_in_numbers() -> None:
    found, odd = read(block([("Event", "A"), ("ChanVariable", "x=1"), ("ChanVariable", "y=2")]))
    assert found == [{"Event": "A", "ChanVariable": "x=1"}]
    assert not odd


def test_what_is_no_utf_8_is_replaced() -> None:
    assert read(b"Event: A\r\nName: \xff\xfeB\r\n\r\n")[0] == [{"Event": "A", "Name": "��B"}]


def test_a_message_without_an_end_costs_no_memory_and_no_other_message() -> None:
    odd: Counter[str] = Counter()
    reader = Reader(lambda what: odd.update([what]))
    found = list(reader.feed(GREETING))
    tracemalloc.start()
    try:
        for _ in range(100):
            found += reader.feed(b"x" * LONGEST)
        assert tracemalloc.get_traced_memory()[1] < 8 * LONGEST
    finally:
        tracemalloc.stop()
    found += reader.feed(b"\r")
    found += reader.feed(b"\n\r\n" + block({"Event": "A"}))
    assert found == [{"Event": "A"}]
    assert odd == {"message too long": 1}


def test_headers_without_number() -> None:
    assert read(block([("Event", "A"), *((f"H{number}", "") for number in range(2000))])) == (
        [],
        {"too many headers": 1},
    )


def test_something_else_answers() -> None:
    reader = Reader(lambda _: None)
    assert not list(reader.feed(b"SSH-2.0-OpenSSH_9.2\r\n"))
    assert reader.greeting == "SSH-2.0-OpenSSH_9.2"
    reader = Reader(lambda _: None)
    list(reader.feed(b"y" * 1000))
    assert reader.greeting == "y" * 100
