"""Pages of the blacklist and the allow-list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response

from agi_server.calls.call import Call
from agi_server.calls.decide import decide
from agi_server.calls.directory import RuleKind, Treatment
from agi_server.calls.document import document
from agi_server.calls.screening import check_rule
from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id
from agi_server.web.console import rule_files
from agi_server.web.console.entry import LARGEST_ID, Entry, entry_of, texts, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.rules import entry_of_rule, read_rule, reading
from agi_server.web.console.versions import version_of
from agi_server.web.services import Services, Use
from storage.blacklist import (
    RuleRow,
    add_rule,
    change_rule,
    find_rule,
    get_rule,
    page_rules,
    remove_rules,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()
router.include_router(rule_files.router)
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Writer = Annotated[Actor, Depends(Needs(Scope.BLACKLIST, page=True))]

PAGE = 50  # rules
MOST_AT_ONCE = 200  # rules removed at once
LONGEST = 200  # characters of what is looked for


@router.get("/blacklist")
async def show_rules(request: Request, use: Use, actor: Reader) -> Response:
    """Show the rules of one list, and which rule decides for a number, if one is asked for."""
    asked = Entry(dict(request.query_params))
    allow, text, kind = asked["list"] == "allow", asked["text"][:LONGEST], asked["kind"]
    chosen = RuleKind(kind) if kind in list(RuleKind) else None
    number = _as_number(text, use)

    async def job(connection: AsyncConnection) -> tuple[list[RuleRow], str]:
        return await page_rules(
            connection, text=text, number=number, kind=chosen, allow=allow, limit=PAGE, after=asked["cursor"]
        )

    try:
        rules, after = await use.database.read(job)
    except InputError:  # a cursor that is none of ours
        return redirect(request, _list_path(allow=allow))
    return page(
        request,
        actor,
        "blacklist.html",
        rules=rules,
        after=after,
        allow=allow,
        text=text,
        kind=kind,
        kinds=list(RuleKind),
        now=use.clock(),
        tested=_tested(asked, use) if "number" in asked.typed else None,
        asked=asked,
    )


@router.get("/blacklist/new")
async def new_rule(request: Request, use: Use, actor: Writer) -> Response:
    """Show an empty form, or one that another page has begun to fill in."""
    started = {
        "list": "block",
        "kind": "exact",
        "treatment": reading(use.directory.policy(), 0).treatment.value,
    }
    return _form(request, use, actor, Entry(started | dict(request.query_params)))


@router.post("/blacklist/new")
async def add(request: Request, use: Use, actor: Writer) -> Response:
    """Add a rule, unless there is one that says so already."""
    entry = await entry_of(request)
    now = use.clock()
    rule = read_rule(entry, reading(use.directory.policy(), now))

    async def job(connection: AsyncConnection) -> RuleRow | None:
        there = await find_rule(connection, rule)
        if there is None:
            await add_rule(connection, rule, who=actor.who, now=int(now))
        return there

    there = None if entry.mistakes else await use.database.write(job)
    if entry.mistakes or there is not None:
        return _form(request, use, actor, entry, there=there)
    _ = gettext_of(request)
    return redirect(request, _list_path(allow=rule.allow), notice=_("The rule was added."))


@router.get("/blacklist/{rule_id:int}")
async def show_rule(request: Request, use: Use, actor: Reader, rule_id: Id) -> Response:
    """Show one rule, in a form for who may change it."""
    rule = await _known(use, rule_id)
    entry = entry_of_rule(rule, reading(use.directory.policy(), use.clock()))
    return _form(request, use, actor, entry, rule=rule, version=version_of(rule))


@router.post("/blacklist/{rule_id:int}")
async def change(request: Request, use: Use, actor: Writer, rule_id: Id) -> Response:
    """Change a rule, unless somebody else did in the meantime."""
    known = await _known(use, rule_id)
    entry = await entry_of(request)
    how = reading(use.directory.policy(), use.clock())
    rule = read_rule(entry, how, known)
    version = entry["version"]

    async def job(connection: AsyncConnection) -> RuleRow | None:
        there = await get_rule(connection, rule_id)
        if there is not None and version_of(there) != version:
            return there
        await change_rule(connection, rule_id, rule, who=actor.who, now=int(how.now))
        return None

    if not entry.mistakes:
        try:
            theirs = await use.database.write(job)
        except ConflictError as error:
            entry.mistakes["pattern"] = str(error)
        else:
            if theirs is not None:
                return _form(
                    request,
                    use,
                    actor,
                    entry,
                    rule=theirs,
                    version=version_of(theirs),
                    theirs=entry_of_rule(theirs, how),
                )
            _ = gettext_of(request)
            return redirect(request, _list_path(allow=rule.allow), notice=_("The rule was saved."))
    return _form(request, use, actor, entry, rule=known, version=version)


@router.post("/blacklist/remove")
async def remove(request: Request, use: Use, actor: Writer) -> Response:
    """Ask first, then remove the rules that were chosen."""
    _ = gettext_of(request)
    form = await request.form()
    back = _list_path(allow=texts(form).get("list") == "allow")
    parse = whole_number(1, LARGEST_ID)
    try:
        ids = list(dict.fromkeys(parse(str(each)) for each in form.getlist("rule")))[:MOST_AT_ONCE]
    except InputError:
        return redirect(request, back)
    if not ids:
        return redirect(request, back, notice=_("No rule was chosen."))
    if form.get("sure") != "yes":
        rules = [rule for rule in [await _find(use, each) for each in ids] if rule is not None]
        return page(request, actor, "rules_remove.html", rules=rules, back=back, allow=back.endswith("allow"))

    async def job(connection: AsyncConnection) -> int:
        return await remove_rules(connection, ids, who=actor.who, now=int(use.clock()))

    count = await use.database.write(job)
    return redirect(request, back, notice=_("Rules removed: %(count)s") % {"count": count})


def _form(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    *,
    rule: RuleRow | None = None,
    version: str = "",
    theirs: Entry | None = None,
    there: RuleRow | None = None,
) -> Response:
    """Return the form: `theirs` is what somebody else has saved meanwhile, `there` a rule that says so already."""
    conflict = theirs is not None or there is not None
    return page(
        request,
        actor,
        "rule.html",
        status=409 if conflict else 422 if entry.mistakes else 200,
        entry=entry,
        rule=rule,
        seen=version,
        theirs=theirs,
        there=there,
        kinds=list(RuleKind),
        treatments=list(Treatment),
        timezone=use.directory.policy().timezone,
        agents=use.directory.policy().agents,
        now=use.clock(),
    )


def _tested(asked: Entry, use: Services) -> dict[str, object]:
    """Return what would be decided for the number in the box on the page."""
    now = use.clock()
    call = Call(id="test", number=asked["number"][:LONGEST], did=asked["did"][:LONGEST])
    return document(decide(call, use.directory, now), now)


def _as_number(text: str, use: Services) -> str:
    """Return the text as rules have it where it is a number, else ''."""
    try:
        return check_rule(RuleKind.EXACT, text, use.directory.policy().default.region)
    except InputError:
        return ""


async def _find(use: Services, rule_id: int) -> RuleRow | None:
    return await use.database.read(lambda connection: get_rule(connection, rule_id))


async def _known(use: Services, rule_id: int) -> RuleRow:
    rule = await _find(use, rule_id)
    if rule is None:
        raise NotFoundError("this rule is not there, or no longer")
    return rule


def _list_path(*, allow: bool) -> str:
    return "/blacklist?list=allow" if allow else "/blacklist"
