"""POST /_org/<verb>: steers a stand-in that runs in another process.

The body is a JSON object: the verb's keyword arguments, and under `args` those without a name. The answer is
the verb's result as JSON; an error of the org or a wrong argument is a 400 with its text.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from tests.org.errors import OrgError
from tests.org.messages import Answer, Request, json_answer

if TYPE_CHECKING:
    from tests.org.server import OrgServer

# What an org can do, by the names of its methods.
ORG_VERBS = (
    "create", "update", "delete", "undelete", "purge", "merge", "convert", "upsert", "query", "search", "get",
    "describe", "add_field", "hide", "show", "lock_rows", "duplicates", "load", "count",
)  # fmt: skip


def steer(url: str, verb: str, *args: object, **options: object) -> Any:
    """Ask the stand-in at `url` to do something; RuntimeError with its text when it refuses."""
    body = orjson.dumps({"args": args, **options})
    request = urllib.request.Request(
        f"{url}/_org/{verb}", body, {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=600) as answer:
            return orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(error.read().decode()) from error


def answer(server: OrgServer, request: Request) -> Answer:
    """Do what a POST /_org/<verb> asks."""
    verb = request.path.removeprefix("/_org/")
    if verb == "close_port":  # for `seconds`; after this answer has left
        seconds = float(request.json_object()["seconds"])
        return Answer(200, b"null", then=lambda: server.close_port_for(seconds))
    action = _action(server, verb)
    if request.method != "POST" or action is None:
        return json_answer(404, {"error": f"no such verb: {request.method} {verb}"})
    try:
        options = request.json_object() if request.body else {}
        result = action(*options.pop("args", ()), **options)
        if isinstance(result, Iterable) and not isinstance(result, str | dict | list | tuple):
            result = list(result)
        return json_answer(200, result)
    except (OrgError, TypeError, ValueError) as error:
        return json_answer(400, {"error": f"{type(error).__name__}: {error}"})


def _action(server: OrgServer, verb: str) -> Callable[..., Any] | None:
    own: dict[str, Callable[..., Any]] = {
        "fault": lambda *args, **options: server.faults.add(*args, **options).kind,
        "clear": server.faults.clear,
        "expire": server.oauth.expire,
        "forget_cursors": server.rest.cursors.forget,
        "withdraw": server.oauth.withdraw,
        "set": lambda **changes: _set(server, changes),
        "settings": lambda flow="client-credentials": server.settings(flow),
        "statistics": lambda: statistics(server),
        "deleted": lambda sobject, start, end: server.org.deleted(
            sobject, *map(datetime.fromisoformat, (start, end))
        ),
        "updated": lambda sobject, start, end: server.org.updated(
            sobject, *map(datetime.fromisoformat, (start, end))
        ),
    }
    if verb in own:
        return own[verb]
    return getattr(server.org, verb, None) if verb in ORG_VERBS else None


def statistics(server: OrgServer) -> dict[str, Any]:
    """Return what was asked so far."""
    return {
        "requests": dict(server.paths()),
        "api_calls": server.api_calls,
        "api_limit": server.api_limit,
        "tokens": dict(server.oauth.given),
        "refusals": dict(server.oauth.refused),
        "jobs": server.bulk.started,
        "mistakes": server.mistakes,
    }


def _set(server: OrgServer, changes: dict[str, Any]) -> None:
    """Change policies: keys such as `api_limit`, `oauth.rotate`, `bulk.polls`, `rest.cursors.most`."""
    for key, value in changes.items():
        *path, name = key.split(".")
        target: Any = server
        for step in path:
            target = getattr(target, step)
        if name.startswith("_") or not hasattr(target, name):
            raise ValueError(f"no such setting: {key}")
        kind = type(getattr(target, name))
        setattr(target, name, kind(value))
