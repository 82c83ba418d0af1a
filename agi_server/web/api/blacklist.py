"""The blacklist and the allow-list."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.blocking import last_number, rule_against
from agi_server.calls.call import Call, Decision
from agi_server.calls.decide import decide
from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.numbers import normalise
from agi_server.calls.policy import Policy
from agi_server.calls.screening import explain, matching_rules
from agi_server.errors import ConflictError, DirectoryError, InputError, NotFoundError
from agi_server.exchange.blacklist import read_rules as read_csv
from agi_server.exchange.blacklist import write_rules
from agi_server.exchange.report import Problem, Report
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, Id, Line, LongLine, json_answer, problems
from agi_server.web.api.rules import RuleIn, RuleOut, read_rule, read_rules, show_rule, tag_of
from agi_server.web.bodies import parse_body, read_body
from agi_server.web.etags import IfMatch, require
from agi_server.web.idempotency import IdempotencyKey, once, reply
from agi_server.web.paging import Listed, Paging
from agi_server.web.problems import problem
from agi_server.web.services import Services, Use
from storage.blacklist import (
    Added,
    add_rule,
    add_rules,
    change_rule,
    find_rule,
    get_rule,
    page_rules,
    remove_rules,
)
from storage.replies import Reply

router = APIRouter(prefix="/blacklist", tags=["blacklist"])

Reader = Annotated[Actor, Depends(Needs(Scope.READ))]
Keeper = Annotated[Actor, Depends(Needs(Scope.BLACKLIST))]

MOST_RULES: Final = 10_000  # of one bulk request
MOST_BYTES: Final = 8 * 1024 * 1024
AT_ONCE: Final = 500  # rules a transaction: about 15 ms, so that no call's write waits longer
_EXPORT_PAGE: Final = 1000
_SEARCHED: Final = "Part of pattern, reason or DID; a number in any spelling."
_SHAPE: Final = TypeAdapter(Annotated[list[RuleIn], Field(max_length=MOST_RULES)])


class Bulk(BaseModel):
    """What became of the rules of a bulk request."""

    added: int
    changed: int
    same: int


class TestIn(Document):
    """A caller to be tried."""

    __test__ = False  # no test case

    number: str = Field(max_length=255, description="As a trunk would send it; empty: anonymous.")
    did: str = Field("", max_length=100, description="The number that was called.")


class Met(RuleOut):
    """A rule that meets the caller."""

    wins: bool
    why: str = Field(description="Why it decides before the next one, or why it does not decide at all.")


class Tested(BaseModel):
    """What the caller would meet; `rules` in the order in which they decide."""

    number: str
    verdict: Literal["allow", "block"]
    reason: str
    rules: list[Met]
    trace: list[dict[str, str]]


class LastIn(Document):
    """Whose last caller."""

    extension: Line = Field("", description="Whose last caller; empty: of the whole company.")
    reason: LongLine = "last caller"


@router.get("", response_model=Listed[RuleOut], responses=problems())
async def list_rules(
    services: Use,
    _: Reader,
    page: Paging,
    q: Annotated[str, Query(max_length=200, description=_SEARCHED)] = "",
    kind: RuleKind | None = None,
    allow: Literal["true", "false"] | None = None,
) -> Response:
    """List rules, the newest first."""
    text = q.strip()
    number = normalise(text, services.directory.policy().default.region) if text else None
    rows, after = await services.database.read(
        lambda conn: page_rules(
            conn,
            text=text,
            number=number.text if number is not None and number.e164 else "",
            kind=kind,
            allow=None if allow is None else allow == "true",
            limit=page.limit,
            after=page.after,
        )
    )
    return json_answer({"items": [show_rule(row) for row in rows], "next": after or None})


@router.post("", status_code=201, response_model=RuleOut, responses=problems(409))
async def create_rule(
    request: Request, services: Use, actor: Keeper, given: RuleIn, key: IdempotencyKey = None
) -> Response:
    """Add a rule; 409 where there is one with the same kind, pattern, DID and direction."""
    rule = read_rule(given, services.directory.policy())

    async def job(conn: AsyncConnection) -> Reply:
        if known := await find_rule(conn, rule):
            raise ConflictError(f"rule {known.id} says so already: change that one")
        return await _added(conn, rule, services, actor)

    return await once(request, services, actor, key, job)


@router.get(
    "/export",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problems()},
)
async def export_rules(services: Use, _: Reader) -> Response:
    """Return all rules as CSV, as bulk and `ostiary import blacklist` read them."""
    first = await _csv_page(services, "")
    return StreamingResponse(
        _csv(services, first),
        media_type="text/csv; charset=utf-8",
        headers={"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="blacklist.csv"'},
    )


@router.post(
    "/bulk",
    response_model=Bulk,
    responses=problems(413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "array",
                        "maxItems": MOST_RULES,
                        "items": {"$ref": "#/components/schemas/RuleIn"},
                    }
                },
                "text/csv": {"schema": {"type": "string"}},
            },
        }
    },
)
async def add_many(request: Request, services: Use, actor: Keeper) -> Response:
    """Add up to 10,000 rules or change those that are there; none of them if one has a mistake.

    JSON, or CSV under the headings Pattern, Kind, Did, Treatment, Reason, Expires. Sent twice it changes nothing
    more. All rules are looked at before the first is stored; they are stored in packs, so that no call waits.
    """
    body = await read_body(request, MOST_BYTES)
    policy = services.directory.policy()
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "text/csv":
        rules, mistakes = await asyncio.to_thread(_read_csv, body, policy)
    else:
        rules, mistakes = await asyncio.to_thread(_read_json, body, policy)
    if mistakes:
        detail = f"{len(mistakes)} mistakes; nothing was stored"
        return problem(422, detail, errors=mistakes)
    return json_answer((await _store(services, rules, actor))._asdict())


@router.post("/test", response_model=Tested, responses=problems())
async def try_rules(services: Use, _: Reader, given: TestIn) -> Response:
    """Say which rules a caller would meet, in which order, which of them decides, and why; nothing is counted."""
    now = services.clock()
    decision = decide(Call(id="", number=given.number, did=given.did), services.directory, now)
    policy = services.directory.policy()
    met = matching_rules(decision.number, given.did, services.directory, book=policy.rules, now=now)
    rows = await services.database.read(lambda conn: _rows(conn, [rule.id for rule in met]))
    return json_answer(
        {
            "number": decision.number.text,
            "verdict": decision.verdict.value,
            "reason": decision.reason,
            "rules": [
                show_rule(rows[rule.id]) | {"wins": decision.rule == rule, "why": _why(met[index:], decision)}
                for index, rule in enumerate(met)
                if rule.id in rows
            ],
            "trace": [step._asdict() for step in decision.trace if step.stage not in {"name", "route"}],
        }
    )


@router.post("/last", status_code=201, response_model=RuleOut, responses=problems(404))
async def block_last(
    request: Request, services: Use, actor: Keeper, given: LastIn, key: IdempotencyKey = None
) -> Response:
    """Block whoever called last, within a day; 404 where nobody did, 422 where the number was withheld."""
    number = await last_number(services.database, given.extension or None, now=int(services.clock()))
    if number is None:
        raise NotFoundError("nobody called within a day")
    rule = rule_against(number, services.directory.policy(), reason=given.reason)
    return await once(request, services, actor, key, lambda conn: _added(conn, rule, services, actor))


@router.get("/{rule_id:int}", response_model=RuleOut, responses=problems(404))
async def show(services: Use, _: Reader, rule_id: Id) -> Response:
    """Return a rule."""
    row = await services.database.read(lambda conn: get_rule(conn, rule_id))
    if row is None:
        raise _none(rule_id)
    return json_answer(show_rule(row), headers={"ETag": tag_of(row)})


@router.put("/{rule_id:int}", response_model=RuleOut, responses=problems(404, 409, 412))
async def change(
    services: Use, actor: Keeper, rule_id: Id, given: RuleIn, if_match: IfMatch = None
) -> Response:
    """Make a rule what the document says; its hits stay."""
    rule = read_rule(given, services.directory.policy())

    async def job(conn: AsyncConnection) -> Response:
        await _check(conn, rule_id, if_match)
        row = await change_rule(conn, rule_id, rule, who=actor.who, now=int(services.clock()))
        return json_answer(show_rule(row), headers={"ETag": tag_of(row)})

    return await services.database.write(job)


@router.delete("/{rule_id:int}", status_code=204, response_class=Response, responses=problems(404, 412))
async def remove(services: Use, actor: Keeper, rule_id: Id, if_match: IfMatch = None) -> Response:
    """Remove a rule."""

    async def job(conn: AsyncConnection) -> None:
        await _check(conn, rule_id, if_match)
        await remove_rules(conn, [rule_id], who=actor.who, now=int(services.clock()))

    await services.database.write(job)
    return Response(status_code=204)


async def _check(conn: AsyncConnection, rule_id: int, if_match: str | None) -> None:
    row = await get_rule(conn, rule_id)
    if row is None:
        raise _none(rule_id)
    require(if_match, tag_of(row))


async def _added(conn: AsyncConnection, rule: Rule, services: Services, actor: Actor) -> Reply:
    rule_id = await add_rule(conn, rule, who=actor.who, now=int(services.clock()))
    row = await get_rule(conn, rule_id)
    assert row is not None
    return reply(show_rule(row), location=f"/api/v1/blacklist/{rule_id}", etag=tag_of(row))


def _none(rule_id: int) -> NotFoundError:
    return NotFoundError(f"there is no rule {rule_id}, or no longer")


def _read_json(body: bytes, policy: Policy) -> tuple[list[Rule], list[dict[str, str]]]:
    rules: list[Rule] = []
    mistakes: list[dict[str, str]] = []
    given = parse_body(_SHAPE, body)
    for index, read in enumerate(read_rules(given, policy)):
        if isinstance(read, InputError):
            mistakes.append({"where": f"body.{index}", "what": str(read)})
        else:
            rules.append(read)
    return rules, mistakes


def _read_csv(body: bytes, policy: Policy) -> tuple[list[Rule], list[dict[str, str]]]:
    mistakes: list[dict[str, str]] = []

    def note(found: Problem) -> None:
        where = f"line {found.line}" + (f", {found.column}" if found.column else "")
        mistakes.append({"where": where, "what": found.reason})

    rules: list[Rule] = []
    for _, rule in read_csv(
        io.BytesIO(body),
        Report(sink=note),
        region=policy.default.region,
        timezone=policy.timezone,
        treatment=policy.default_treatment,
    ):
        rules.append(rule)
        if len(rules) > MOST_RULES:
            raise InputError(f"more than {MOST_RULES} rules: send them in several parts")
    return rules, mistakes


async def _store(services: Services, rules: list[Rule], actor: Actor) -> Added:
    total = Added(0, 0, 0)
    for at in range(0, len(rules), AT_ONCE):
        pack = rules[at : at + AT_ONCE]

        async def job(conn: AsyncConnection, pack: list[Rule] = pack) -> Added:
            return await add_rules(conn, pack, who=actor.who, now=int(services.clock()))

        try:
            part = await services.database.write(job)
        except DirectoryError as error:
            raise DirectoryError(
                f"{error}; {at} of {len(rules)} rules are stored: send all of them again"
            ) from error
        total = Added(*map(sum, zip(total, part, strict=True)))
    return total


async def _csv(services: Services, page: tuple[str, str]) -> AsyncIterator[str]:
    text, after = page
    yield text
    while after:
        text, after = await _csv_page(services, after)
        yield text


async def _csv_page(services: Services, after: str) -> tuple[str, str]:
    rows, following = await services.database.read(
        lambda conn: page_rules(conn, limit=_EXPORT_PAGE, after=after)
    )
    out = io.StringIO()
    write_rules(rows, out, headings=not after)
    return out.getvalue(), following


async def _rows(conn: AsyncConnection, ids: list[int]) -> dict[int, Any]:
    found = [await get_rule(conn, rule_id) for rule_id in ids]
    return {row.id: row for row in found if row is not None}


def _why(rules: list[Rule], decision: Decision) -> str:
    """Say why the first of these, which are in the order of deciding, does or does not decide."""
    decided = decision.rule
    if decided is not None and decided in rules:
        return explain(rules)
    if decided is not None:
        return f"rule {decided.id} decides before it"
    if any(step.stage == "screen" and step.outcome == "off" for step in decision.trace):
        return "screening is off for this DID"
    return "a known contact is met by exact rules only"
