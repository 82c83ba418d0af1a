from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import Request

from agi_server.errors import InputError
from agi_server.settings import Http, Settings
from agi_server.web.phonebooks.question import Question, parameters_of, question_of
from agi_server.web.phonebooks.words import WORDS


def request(query: str, host: str = "pbx.example:8080") -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "https",
            "path": "/phonebooks/cisco",
            "query_string": query.encode("latin-1"),
            "headers": [(b"host", host.encode())],
            "server": ("127.0.0.1", 8080),
        }
    )


def asked(query: str, *, language: str = "auto", charset: str = "utf-8") -> Question:
    settings = Settings(http=Http.model_validate({"language": language}))
    return question_of(request(query), settings, charset)


@pytest.mark.parametrize("sent", ["term=Mu%C3%B1oz", "term=Mu%F1oz", "term=Mu\xf1oz", "term=Mu\xc3\xb1oz"])
def test_a_term_may_come_in_utf8_or_latin1(sent: str) -> None:
    assert asked(sent).term == "Muñoz"


@pytest.mark.parametrize(
    "sent", ["", "term=", "term=%23SEARCH", "term=__X__", "term=+%20", "x=1&term=#SEARCH"]
)
def test_a_placeholder_or_nothing_is_no_term(sent: str) -> None:
    assert asked(sent).term == ""
    assert "term" not in asked(sent).carried


def test_a_term_is_one_line_of_so_many_characters() -> None:
    assert asked("term=a%0Ab%09+c").term == "a b c"
    assert len(asked("term=" + "x" * 5000).term) == 100


def test_the_first_of_several_counts() -> None:
    assert parameters_of(request("a=1&a=2")) == {"a": "1"}


def test_a_flood_of_parameters_is_nothing() -> None:
    assert parameters_of(request("&".join(f"p{number}=1" for number in range(1000)))) == {}


@pytest.mark.parametrize(
    ("sent", "plus"),
    [("", "+"), ("plus=00", "00"), ("plus=%2B", "+"), ("plus=+", "+"), ("plus=0*1%23", "0*1#")],
)
def test_the_plus_may_be_something_else(sent: str, plus: str) -> None:
    assert asked(sent).plus == plus


@pytest.mark.parametrize(
    "sent", ["plus=a", "plus=000000000", "plus=%3Cb%3E", "charset=koi8-r", "language=fr"]
)
def test_what_is_not_known_is_said_so(sent: str) -> None:
    with pytest.raises(InputError, match=sent.partition("=")[0]):
        asked(sent)


def test_the_character_set_is_the_houses_unless_asked_for() -> None:
    assert asked("", charset="ascii").charset == "ascii"
    assert asked("charset=latin-1", charset="ascii").charset == "latin-1"


def test_the_language_is_the_consoles_unless_asked_for() -> None:
    assert asked("").words is WORDS["en"]
    assert asked("", language="es").words is WORDS["es"]
    assert asked("language=pt", language="es").words is WORDS["pt"]


def test_an_address_carries_what_was_given() -> None:
    question = asked("token=ost_%26x%3D&charset=ascii&plus=00&language=de&term=a%26b+c&number=1&cursor=z")
    url = urlsplit(question.address("cisco/list", cursor="0.c&"))
    assert (url.scheme, url.netloc, url.path) == ("https", "pbx.example:8080", "/phonebooks/cisco/list")
    assert parse_qs(url.query) == {
        "token": ["ost_&x="],
        "charset": ["ascii"],
        "plus": ["00"],
        "language": ["de"],
        "term": ["a&b c"],
        "cursor": ["0.c&"],
    }
    assert "term" not in parse_qs(urlsplit(question.address("x", drop=("term",))).query)


def test_words_are_within_the_character_set() -> None:
    assert asked("charset=ascii&language=es").word("Nombre o número") == "Nombre o numero"
    assert asked("language=es").word("Nombre o número") == "Nombre o número"
