from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.web.phonebooks.document import Charset, answer, element, encode, without_noncharacters
from tests.web.phonebooks.forms import parse

CHARSETS: tuple[Charset, ...] = get_args(Charset)
charsets = pytest.mark.parametrize("charset", CHARSETS)


def test_text_and_attributes_are_escaped() -> None:
    document = element("a", element("b", text="""<i> & "x" 'y'"""), title="""<"&'>""")
    assert document == (
        '<a title="&lt;&quot;&amp;&apos;&gt;"><b>&lt;i&gt; &amp; &quot;x&quot; &apos;y&apos;</b></a>'
    )


def test_an_element_with_nothing_in_it_is_one_tag() -> None:
    assert element("a", element("b"), for_="x") == '<a for="x"><b/></a>'


@charsets
@given(text=st.text())
def test_any_text_comes_back_but_for_what_xml_cannot_hold(charset: Charset, text: str) -> None:
    root = parse(encode(element("a", element("b", text=text), c=text), charset))
    line_ends = text.replace("\r\n", "\n").replace("\r", "\n")  # XML 1.0, 2.11
    assert (root[0].text or "") == without_noncharacters(line_ends)
    assert root.attrib["c"] == without_noncharacters(line_ends).replace("\n", " ").replace("\t", " ")  # 3.3.3


@pytest.mark.parametrize("text", ["\0", "\x1b", "\x7f", "\ufffe", "\uffff", "\ud800", "\U0001fffe"])
def test_noncharacters_go(text: str) -> None:
    expected = f"a{text}b" if text in {"\x7f", "\U0001fffe"} else "ab"  # allowed, if not wise
    assert without_noncharacters(f"a{text}b") == expected
    parse(encode(element("x", text=text), "utf-8"))


@pytest.mark.parametrize(
    ("charset", "declared", "sent"),
    [
        ("utf-8", b"UTF-8", "Muñoz 漢"),
        ("latin-1", b"ISO-8859-1", "Mu\xf1oz &#28450;"),
        ("ascii", b"UTF-8", "Muñoz 漢"),
    ],
)
def test_the_character_set_is_declared_and_kept(charset: Charset, declared: bytes, sent: str) -> None:
    document = encode(element("x", text="Muñoz 漢"), charset)
    head, body = document.split(b"\n", 1)
    assert head == b'<?xml version="1.0" encoding="' + declared + b'"?>'
    assert body.decode(declared.decode()) == f"<x>{sent}</x>\n"


def test_no_phone_keeps_an_answer() -> None:
    response = answer(element("x"), "latin-1", status=503, headers={"Refresh": "0"})
    assert response.status_code == 503
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["refresh"] == "0"
    assert response.headers["content-type"] == "text/xml; charset=iso-8859-1"
