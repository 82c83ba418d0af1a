from __future__ import annotations

from urllib.parse import unquote

import pytest
from aiomqtt import Topic
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.events import topics
from agi_server.events.event import Event, EventType


@pytest.mark.parametrize(
    ("type_", "extension", "topic"),
    [
        (EventType.RINGING, "", "o/call/ringing"),
        (EventType.ANSWERED, "", "o/call/answered"),
        (EventType.ENDED, "", "o/call/ended"),
        (EventType.DECISION, "", "o/decision"),
        (EventType.SCREEN_POP, "101", "o/agent/101/screen_pop"),
        (EventType.MISSED, "101", "o/agent/101/missed_call"),
        (EventType.PROGRESS, "101", "o/agent/101/progress"),
        (EventType.CHAT, "101", "o/chat/changed"),
        (EventType.BLACKLIST, "", "o/blacklist/changed"),
        (EventType.CONTACT, "", "o/contact/changed"),
        (EventType.CONFIGURATION, "", "o/configuration/changed"),
        (EventType.SYNC, "", "o/sync/state"),
    ],
)
def test_the_tree(type_: EventType, extension: str, topic: str) -> None:
    assert topics.topic_of("o", Event(1, type_, 0.0, {}, extension)) == topic


def test_each_type_has_a_topic_of_its_own() -> None:
    assert len({topics.topic_of("o", Event(1, type_, 0.0, {}, "1")) for type_ in EventType}) == len(EventType)


def test_extensions_stay_as_they_are() -> None:
    assert topics.level("sales.desk-2_ä") == "sales.desk-2_ä"


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=300)
def test_a_level_holds_nothing_it_may_not(text: str) -> None:
    level = topics.level(text)
    assert level
    Topic(f"o/agent/{level}/screen_pop")  # raises for a wildcard or NUL
    assert "/" not in level
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in level)
    assert (unquote(level) if text else "") == text


def test_a_text_that_is_no_unicode_makes_a_level() -> None:
    topics.level("\udc80\ud800").encode()
