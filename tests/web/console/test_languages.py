from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agi_server
from agi_server.web.console.languages import LANGUAGES, SOURCE, negotiate, translations
from agi_server.web.console.terms import explain
from tests.web.console.catalogue import collected, forms_of, stored

CODE = Path(agi_server.__file__).parent
TRANSLATED = [language for language in LANGUAGES if language != SOURCE]
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]|%%|%")


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated_and_none_is_left_over(language: str) -> None:
    catalogue = stored(language)
    wanted = {message.id for message in collected() if message.id}
    there = {message.id for message in catalogue if message.id}

    assert {str(id_) for id_ in wanted - there} == set(), "missing: python -m tests.web.console.catalogue"
    assert {str(id_) for id_ in there - wanted} == set(), "obsolete: python -m tests.web.console.catalogue"
    assert not catalogue.obsolete
    for message in catalogue:
        if message.id:
            assert forms_of(message.string), f"not translated: {message.id}"
            assert not message.fuzzy, f"not sure: {message.id}"


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_have_the_placeholders_of_their_message(language: str) -> None:
    for message in stored(language):
        if not message.id:
            continue
        ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        wanted = {name for id_ in ids for name in PLACEHOLDER.findall(id_)}
        for text in forms_of(message.string):
            assert set(PLACEHOLDER.findall(text)) <= wanted, text
            if len(ids) == 1:
                assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(ids[0])), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_begin_and_end_like_their_message(language: str) -> None:
    """A full stop, a colon or an ellipsis that is lost makes a page look careless."""
    for message in stored(language):
        if isinstance(message.id, str) and message.id:
            (text,) = forms_of(message.string)
            for end in (".", ":", "…", "?"):
                assert text.rstrip().endswith(end) == message.id.endswith(end), (message.id, text)


@pytest.mark.parametrize("language", TRANSLATED)
def test_catalogues_hold_no_markup(language: str) -> None:
    for message in stored(language):
        for text in forms_of(message.string) if message.id else ():
            assert "<" not in text.replace("<bdi>", "").replace("</bdi>", ""), text


def test_words_come_from_the_catalogue() -> None:
    assert translations("de").gettext("Log out") == "Abmelden"
    assert translations("en").gettext("Log out") == "Log out"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pt-BR", "pt"),
        ("fr,es;q=0.5,de;q=0.7", "de"),
        ("en;q=0.1, es;q=0.2", "es"),
        ("es;q=0, de;q=0.1", "de"),
        ("fr", "en"),
        ("es;q=0", "en"),
        ("*", "en"),
        ("de;q=x, es", "es"),
        ("ES", "es"),
    ],
)
def test_the_browsers_wish_is_met(header: str, language: str) -> None:
    assert negotiate(header) == language


@given(st.text(max_size=300) | st.text("abdept-_;,=q.019* ", max_size=60))
@settings(max_examples=100)
def test_any_header_gives_a_language(header: str) -> None:
    assert negotiate(header) in LANGUAGES


def details() -> list[str]:
    """Return what steps of a trace say, with a number in the place of each part that varies."""
    found = []
    for path in (*(CODE / "calls").glob("*.py"), CODE / "lookups.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "TraceStep"
            if named and isinstance(node, ast.Call) and len(node.args) > 2:
                found += _texts(node.args[2])
    return found


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if not isinstance(node, ast.JoinedStr):
        return []  # made elsewhere: by a function, an error
    filled = {
        "why": "the owner",
        "alike[0].kind": "Contact",
        "_NOT_RUNG[state]": "is busy",
        "nobody": "at work and free",
    }
    parts = [
        str(part.value)
        if isinstance(part, ast.Constant)
        else filled.get(ast.unparse(part.value), "7")
        if isinstance(part, ast.FormattedValue)
        else ""
        for part in node.values
    ]
    return ["".join(parts)]


def test_explanations_of_decisions_are_in_the_readers_language() -> None:
    said = [detail for detail in details() if detail]

    assert len(said) > 20
    for detail in said:
        assert explain(translations("de").gettext, detail) != detail


def test_the_rule_that_won_is_explained() -> None:
    detail = "block rule 7 (exact) is more specific, before rule 8 (prefix) and 1 more"

    assert explain(translations("de").gettext, detail) == (
        "Sperrregel 7 (genaue Nummer) ist genauer, vor Regel 8 (Vorwahl) und 1 weiteren"
    )
