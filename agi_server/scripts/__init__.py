"""The AGI scripts: one module, one script; a script returns what to set and never writes to the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer, Script
from agi_server.scripts import answered, blacklist, ended, incoming, insert, message, outgoing, ping
from agi_server.scripts.services import Services

SCRIPTS: Mapping[str, Callable[[AgiRequest, Services], Answer | Awaitable[Answer]]] = {
    "incoming": incoming.incoming,
    "outgoing": outgoing.outgoing,
    "contacto_insert_salesforce": insert.contacto_insert_salesforce,
    "blacklist_add": blacklist.blacklist_add,
    "blacklist_remove": blacklist.blacklist_remove,
    "blacklist_last": blacklist.blacklist_last,
    "answered": answered.answered,
    "ended": ended.ended,
    "message": message.message,
    "ping": ping.ping,
}


def bind(services: Services) -> dict[str, Script]:
    """Return every script by name, ready for the FastAGI server."""
    return {name: partial(_call, script, services) for name, script in SCRIPTS.items()}


def _call(
    script: Callable[[AgiRequest, Services], Answer | Awaitable[Answer]],
    services: Services,
    request: AgiRequest,
) -> Answer | Awaitable[Answer]:
    return script(request, services)
