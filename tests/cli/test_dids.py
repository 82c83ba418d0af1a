"""`ostiary dids`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Ostiary


def dids(ostiary: Ostiary) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(ostiary("dids", "list", "--json").stdout)
    return listed


def test_set_list_remove(ostiary: Ostiary) -> None:
    ostiary("dids", "set", "351210000001", "name=Sales", "region=PT", "screening=no", "ring_seconds=30")
    ostiary("dids", "set", "351210000001", "template={name} [{account}]", "region=", "routing=yes")
    (did,) = dids(ostiary)
    assert {key: value for key, value in did.items() if key != "id" and value is not None} == {
        "did": "351210000001",
        "name": "Sales",
        "screening": False,
        "routing": True,
        "template": "{name} [{account}]",
        "ring_seconds": 30,
    }
    header, line = ostiary("dids", "list").stdout.splitlines()
    assert header.index("screening") == line.index("no ")
    ostiary("dids", "remove", "351210000001")
    assert dids(ostiary) == []


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("screening=perhaps", "screening: 'perhaps' is neither yes nor no"),
        ("region=pt", "region: 'pt'"),
        ("ring_seconds=0", "from 1 to 600"),
        ("ring_seconds=²", "from 1 to 600"),
        ("default_agent=2,1", "cannot be dialled"),
        ("template={colour}", "{colour}"),
        ("colour=red", "default_agent"),
        ("id=7", "default_agent"),
        ("region", "key=value"),
    ],
)
def test_what_cannot_be_set(ostiary: Ostiary, value: str, complaint: str) -> None:
    assert complaint in str(ostiary("dids", "set", "351210000001", value, code=1).exception)
    assert dids(ostiary) == []


def test_removing_an_unknown_did_says_so(ostiary: Ostiary) -> None:
    assert "'351210000001'" in str(ostiary("dids", "remove", "351210000001", code=1).exception)
