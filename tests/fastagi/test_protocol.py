from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.errors import RemoteProtocolError
from agi_server.fastagi.client import environment
from agi_server.fastagi.protocol import AgiRequest, Dialogue, Event, HungUp, Reply, parse_block

CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 3, 7, 4096])  # the same bytes, however they arrive


def feed(dialogue: Dialogue, data: bytes, chunk: int) -> list[Event]:
    return [event for at in range(0, len(data), chunk) for event in dialogue.receive(data[at : at + chunk])]


def after_block() -> Dialogue:
    dialogue = Dialogue()
    dialogue.receive(environment("ping"))
    return dialogue


def request_of(data: bytes, chunk: int = 4096) -> AgiRequest:
    (event,) = feed(Dialogue(), data, chunk)
    assert isinstance(event, AgiRequest)
    return event


USAGE = b"""520-Invalid command syntax.  Proper usage follows:
 Usage: SET VARIABLE <variablename> <value>
        Sets a variable to the current channel.
520 End of proper usage.
"""
USAGE_TEXT = """Invalid command syntax.  Proper usage follows:
 Usage: SET VARIABLE <variablename> <value>
        Sets a variable to the current channel.
520 End of proper usage."""

REPLIES: list[tuple[bytes, list[Event]]] = [
    (b"200 result=0\n", [Reply(200, "0")]),
    (b"200 result=1\r\n", [Reply(200, "1")]),
    (b"200 result=-1\n", [Reply(200, "-1")]),
    (b"200 result=-2\n", [Reply(200, "-2")]),
    (b"200 result=1 (value)\n", [Reply(200, "1", "value")]),
    (b"200 result=1 ()\n", [Reply(200, "1", "")]),
    (b"200 result=1 (a) b)\n", [Reply(200, "1", "a) b")]),
    (b"200 result= (timeout)\n", [Reply(200, "", "timeout")]),
    (b"200 result=0 endpos=12480\n", [Reply(200, "0", None, 12480)]),
    (b"200 result=49 (hangup) endpos=0\n", [Reply(200, "49", "hangup", 0)]),
    (b"200 result=1 (first\nsecond)\n", [Reply(200, "1")]),  # a value with a newline
    (b"100 result=0 Trying...\n200 result=1\n", [Reply(200, "1")]),
    (b"510 Invalid or unknown command\n", [Reply(510, "", "Invalid or unknown command")]),
    (
        b"511 Command Not Permitted on a dead channel or intercept routine\n",
        [Reply(511, "", "Command Not Permitted on a dead channel or intercept routine")],
    ),
    (USAGE, [Reply(520, "", USAGE_TEXT)]),
    (
        b"520 Invalid command syntax.  Proper usage not available.\n",
        [Reply(520, "", "Invalid command syntax.  Proper usage not available.")],
    ),
    (b"HANGUP\n", [HungUp()]),
    (b"HANGUP\r\n", [HungUp()]),
    (b"HANGUP\n200 result=1\nHANGUP\n", [HungUp(), Reply(200, "1"), HungUp()]),
    (USAGE.replace(b"\n Usage", b"\nHANGUP\n Usage"), [HungUp(), Reply(520, "", USAGE_TEXT)]),
    (b"\n\r\n\n200 result=1\n", [Reply(200, "1")]),  # more empty lines behind the block
    # What a caller put behind an early end of the block says nothing.
    (b"agi_callerid: 1\n200 OK\n2000 result=1\n 200 result=1\nresult=1\n", []),
    (b"\xff\xfe\x00\n200 result=1 (\xff)\n", [Reply(200, "1", "�")]),
]


@CHUNKS
@pytest.mark.parametrize(("data", "events"), REPLIES)
def test_replies(data: bytes, events: list[Event], chunk: int) -> None:
    assert feed(after_block(), data, chunk) == events


def test_good_replies() -> None:
    assert [Reply(200, "1").good, Reply(200, "0").good, Reply(200, "").good] == [True, True, True]
    assert [Reply(200, "-1").good, Reply(200, "-2").good, Reply(510, "").good] == [False, False, False]


def test_usage_cut_off_by_the_end_of_the_stream_is_a_reply() -> None:
    dialogue = after_block()
    assert feed(dialogue, b"520-Invalid command syntax.\n Usage: NoOp\n", 4096) == []
    assert dialogue.receive_eof() == (Reply(520, "", "Invalid command syntax.\n Usage: NoOp"),)
    assert dialogue.receive_eof() == ()


@CHUNKS
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_real_block(chunk: int, ending: bytes) -> None:
    block = environment(
        "incoming", number="+4930123456", name="Erika: Mustermann", did="4930555000", args=["a", "", "c,d"]
    )
    request = request_of(block.replace(b"\n", ending), chunk)
    assert request.script == "incoming"
    assert list(request.env)[:3] == ["network", "network_script", "request"]
    assert len(request.env) == 22 + 3
    assert request.env["callerid"] == "+4930123456"
    assert request.env["calleridname"] == "Erika: Mustermann"
    assert request.env["accountcode"] == ""
    assert request.args == ("a", "", "c,d")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_block_in_any_two_pieces(ending: bytes) -> None:
    block = environment("ping").replace(b"\n", ending)
    for cut in range(1, len(block)):
        dialogue = Dialogue()
        assert dialogue.receive(block[:cut]) == (), cut
        assert len(dialogue.receive(block[cut:])) == 1, cut


SCRIPTS = [
    ("incoming", "incoming", {}),
    ("", "", {}),
    ("/incoming/", "incoming", {}),
    ("incoming?", "incoming", {}),
    ("a%2Fb%20c?x=1", "a/b c", {"x": "1"}),
    ("ping?a=1&b=&c&=d&a=2", "ping", {"a": "1", "b": "", "c": "", "": "d"}),
    ("p?u=http://h/?q=1&v=%26%3D%3F", "p", {"u": "http://h/?q=1", "v": "&=?"}),
    (
        "p?number=+4930&name=Ana+Silva&quoted=%2B49+30",
        "p",
        {"number": "+4930", "name": "Ana Silva", "quoted": "+49 30"},
    ),
    ("p?bad=%zz%FF", "p", {"bad": "%zz�"}),
    ("p?name=J%C3%BCrgen", "p", {"name": "Jürgen"}),
]


@pytest.mark.parametrize(("target", "script", "query"), SCRIPTS)
def test_script_and_query(target: str, script: str, query: dict[str, str]) -> None:
    with_script = parse_block(f"agi_network: yes\nagi_network_script: {target}\nagi_request: agi://h/other")
    assert (with_script.script, with_script.query) == (script, query)
    from_url = parse_block(f"agi_network: yes\nagi_request: agi://[::1]:4573/{target}")
    assert (from_url.script, from_url.query) == (script, query)


@pytest.mark.parametrize("url", ["agi://host", "agi://host/", "hagi://host", "agi://", "no url", ""])
def test_no_script_at_all(url: str) -> None:
    assert parse_block(f"agi_network: yes\nagi_request: {url}").script == ""


def test_hagi_url() -> None:
    assert parse_block("agi_request: hagi://example.org/incoming?did=1").script == "incoming"


def test_the_first_occurrence_of_a_key_wins() -> None:
    block = environment("incoming", number="1\nagi_network_script: blacklist_add?number=2\nagi_callerid: 2")
    request = request_of(block)
    assert request.script == "incoming"
    assert request.query == {}
    assert request.env["callerid"] == "1"


def test_a_caller_cannot_name_the_script_where_the_url_names_none() -> None:
    block = environment("", number="1\nagi_network_script: blacklist_add")
    assert b"agi_network_script: blacklist_add\n" in block
    assert request_of(block).script == ""


@CHUNKS
def test_a_caller_cannot_put_a_reply_behind_an_early_end(chunk: int) -> None:
    block = environment("incoming", number="1\n\n200 result=1\nHANGUP", did="4930555000")
    early, _, rest = block.partition(b"\n\n")
    dialogue = Dialogue()
    (request,) = dialogue.receive(
        early + b"\n\n" + rest
    )  # in one piece: all that is left over is thrown away
    assert isinstance(request, AgiRequest)
    assert request.env["callerid"] == "1"
    assert feed(dialogue, b"200 result=0\n", chunk) == [Reply(200, "0")]


@CHUNKS
def test_other_lines_of_a_caller_are_no_replies(chunk: int) -> None:
    block = environment("incoming", number="1\n\nnothing", did="4930555000")
    request, *events = feed(Dialogue(), block, chunk)
    assert isinstance(request, AgiRequest)
    assert events == []


@pytest.mark.parametrize("separator", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_lines_end_at_lf_only(separator: str) -> None:
    request = request_of(environment("incoming", name=f"A{separator}agi_dnid: 1"))
    assert request.env["calleridname"] == f"A{separator}agi_dnid: 1"
    assert request.env["dnid"] == "unknown"


def test_undecodable_bytes_are_replaced() -> None:
    assert (
        request_of(b"agi_network_script: p\nagi_calleridname: J\xfcrgen\n\n").env["calleridname"] == "J�rgen"
    )


def test_lines_that_are_no_variables_are_ignored() -> None:
    request = request_of(b"\nHANGUP\nhello: x\nagi_\nagi_network_script: ping\nagi_empty:\nagi_x:y\n 200\n\n")
    assert request.script == "ping"
    assert request.env == {"network_script": "ping", "empty": "", "x": "y"}


@pytest.mark.parametrize(
    "data", [b"\n\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\n\n", b"agi_\n\n"]
)
def test_no_environment_block(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no agi_"):
        Dialogue().receive(data)


BOUNDS = [
    (b"agi_network: " + b"x" * 300 + b"\n\n", "line of more than 256 bytes"),
    (b"x" * 300, "line of more than 256 bytes"),
    (b"agi_network: yes\n" + b"x" * 300, "line of more than 256 bytes"),
    (b"agi_x: y\n" * 31 + b"\n", "more than 30 lines"),
    (b"agi_x: y\n" * 100, "more than 30 lines"),
    ((b"agi_x: " + b"y" * 100 + b"\n") * 20 + b"\n", "more than 1024 bytes"),
    ((b"agi_x: " + b"y" * 100 + b"\n") * 20, "more than 1024 bytes"),
]


@CHUNKS
@pytest.mark.parametrize(("data", "what"), BOUNDS)
def test_the_block_is_bounded(data: bytes, what: str, chunk: int) -> None:
    with pytest.raises(RemoteProtocolError, match=what):
        feed(Dialogue(max_line=256, max_lines=30, max_bytes=1024), data, chunk)


@CHUNKS
def test_the_longest_block_that_fits(chunk: int) -> None:
    line = b"agi_x: " + b"y" * 249
    assert len(line) == 256
    block = (line + b"\n") * 3 + b"agi_y: z\n" * 27 + b"\n"
    (request,) = feed(Dialogue(max_line=256, max_lines=30, max_bytes=1024), block, chunk)
    assert isinstance(request, AgiRequest)
    assert request.env == {"x": "y" * 249, "y": "z"}


@CHUNKS
def test_replies_are_bounded(chunk: int) -> None:
    for data, what in [
        (b"x" * 300, "reply line of more than 256"),
        (b"x\n" * 600, "more than 1024 bytes behind"),
    ]:
        dialogue = Dialogue(max_line=256, max_bytes=1024)
        dialogue.receive(environment("ping").replace(b"agi_threadid", b"agi_t"))
        with pytest.raises(RemoteProtocolError, match=what):
            feed(dialogue, data, chunk)


def test_end_of_stream() -> None:
    assert Dialogue().receive_eof() == ()
    assert after_block().receive_eof() == ()
    dialogue = Dialogue()
    dialogue.receive(b"agi_network: yes\n")
    with pytest.raises(RemoteProtocolError, match="closed inside the environment block, after 17 bytes"):
        dialogue.receive_eof()


def test_where_a_value_comes_from() -> None:
    block = environment(
        "p",
        number="unknown",
        did="4930555000",
        query="a=query&empty=",
        args=["first", ""],
        env={"rdnis": "rd"},
    )
    request = request_of(block)
    assert request.get("a", "rdnis", position=1) == "query"
    assert request.get("b", "rdnis", position=1) == "first"
    assert request.get("empty", "rdnis", position=1) == "first"
    assert request.get("b", "rdnis", position=2) == "rd"
    assert request.get("b", "rdnis", position=3) == "rd"
    assert request.get("b", "callerid") == ""  # unknown
    assert request.get("b", "callerid", "rdnis") == "rd"
    assert request.get("b") == ""


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\n", b"\r\n", b"\n\n", b"agi_network: yes\n", b"agi_network_script: ping\n"]),
        st.sampled_from([b"200 result=1\n", b"520-x\n", b"520 x\n", b"HANGUP\n", b"200 result=", b"(", b")"]),
        st.sampled_from([environment("ping"), b"x" * 300, b"agi_x: " + b"\xff" * 50]),
    ),
    max_size=40,
)


@given(PIECES)
def test_any_bytes_are_survived_in_bounded_memory(pieces: list[bytes]) -> None:
    dialogue = Dialogue(max_line=256, max_lines=30, max_bytes=2048)
    with contextlib.suppress(RemoteProtocolError):
        for piece in pieces:
            for event in dialogue.receive(piece):
                assert isinstance(event, AgiRequest | Reply | HungUp)
            assert dialogue.pending <= 2048
        dialogue.receive_eof()


@given(PIECES, st.data())
def test_chunks_make_no_difference(pieces: list[bytes], data: st.DataObject) -> None:
    block, stream = environment("ping"), b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    whole, cut = (Dialogue(), Dialogue())
    assert len(whole.receive(block)) == len(cut.receive(block)) == 1
    events = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in cut.receive(stream[start:end])
    ]
    assert events == list(whole.receive(stream))
