from __future__ import annotations

from dataclasses import asdict

from agi_server.settings import Http
from agi_server.web.phonebooks.words import WORDS
from storage.phonebook import Kind


def test_there_are_words_in_every_language_of_the_console() -> None:
    assert {*WORDS, "auto"} == set(Http.model_fields["language"].annotation.__args__)  # type: ignore[union-attr]


def test_no_word_is_missing_or_long() -> None:
    for words in WORDS.values():
        texts = asdict(words)
        kinds = texts.pop("kinds")
        assert all(texts.values())
        assert set(kinds) == set(Kind) - {Kind.EXTENSION}
        assert all(len(kind) <= 9 for kind in kinds.values())
        assert all(len(texts[key]) <= 8 for key in ("dial", "next", "leave"))  # keys are narrow
