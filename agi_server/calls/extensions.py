"""Which endpoints of a PBX are phones of ours, and which lead outside."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

import re2

from agi_server.calls.reformatting import quiet_options

# What an extension looks like where no list says which endpoints are trunks.
_LIKELY: Final = re.compile(r"[0-9]{2,6}", re.ASCII)

# `PJSIP/101-0000001a` is a channel of the endpoint 101; `Local/101@from-queue-0000001a;1` is one of 101@from-queue.
_CHANNEL: Final = re.compile(
    r"(?P<technology>[^/]+)/(?P<endpoint>.+?)(?:-[0-9a-fA-F]{8,}(?:;[12])?)?", re.DOTALL
)


def endpoint_of(channel: str) -> str:
    """Return the endpoint in the name of a channel: `PJSIP/101-0000001a` → `101`; '' for what is none.

    A Local channel has none: it leads back into the dialplan and is nobody's phone.
    """
    match = _CHANNEL.fullmatch(channel)
    if match is None or match["technology"].lower() == "local":
        return ""
    return match["endpoint"]


def own_extension(endpoint: str, agents: Container[str], pattern: str, trunks: Sequence[str]) -> str:
    """Return the extension whose phone an endpoint is, '' for a trunk.

    `agents` are the extensions of agents, `pattern` is the RE2 expression of own extensions (numbers.own_extensions),
    `trunks` are globs of endpoints that lead outside (ami.trunks). Without any of these, two to six digits are an
    extension: trunks have names.
    """
    if any(fnmatchcase(endpoint, trunk) for trunk in trunks):
        return ""
    if endpoint in agents or matches(pattern, endpoint):
        return endpoint
    return endpoint if not trunks and _LIKELY.fullmatch(endpoint) else ""


def matches(pattern: str, text: str) -> bool:
    """Return whether the RE2 expression covers the whole text, which must be ASCII; an empty one covers nothing."""
    compiled = _compiled(pattern) if pattern and text.isascii() else None
    return compiled is not None and compiled.fullmatch(text) is not None


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> Any:  # noqa: ANN401  # re2 has no types
    try:
        return re2.compile(pattern, quiet_options())
    except (re2.error, UnicodeEncodeError):  # refused by `check_extensions` where settings are read
        return None
