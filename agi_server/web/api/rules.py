"""Rules of the blacklist and the allow-list as the API's documents have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.policy import Policy
from agi_server.calls.screening import check_rule
from agi_server.errors import InputError
from agi_server.exchange.values import check_dialable, parse_treatment
from agi_server.web.api.answers import Document, Line, LongLine, Moment, Yes, read_time, show_time
from agi_server.web.etags import etag
from storage.blacklist import RuleRow


class RuleIn(Document):
    """A rule as it should be."""

    kind: RuleKind = RuleKind.EXACT
    pattern: LongLine = Field(
        "", description="By kind: +4930123456; +49190; an RE2 expression; RU or +7; nothing."
    )
    allow: Yes = Field(False, description="Let in what another rule would block.")
    did: Line = Field("", description="Only calls to this number; empty: to every one.")
    treatment: Treatment | None = Field(None, description="null: as screening.default_treatment says.")
    target: Line = Field("", description="Mailbox, sound or destination of the treatment.")
    reason: LongLine = ""
    expires_at: Annotated[Moment | None, Field(description="null: never.")] = None


class RuleOut(BaseModel):
    """A rule, where it came from, and how often it decided a call."""

    id: int
    kind: RuleKind
    pattern: str
    allow: bool
    did: str
    treatment: Treatment
    target: str
    reason: str
    expires_at: str | None
    created_by: str
    created_at: str | None
    hits: int
    last_hit_at: str | None


def read_rule(given: RuleIn, policy: Policy) -> Rule:
    """Return the rule that a document asks for. Raises InputError."""
    treatment, target = Treatment.HANGUP, ""
    if not given.allow:
        text = str(given.treatment or policy.default_treatment)
        treatment, target = parse_treatment(f"{text}:{given.target}" if given.target else text)
    elif given.target:
        check_dialable(given.target)
    return Rule(
        id=0,
        kind=given.kind,
        pattern=check_rule(given.kind, given.pattern, policy.default.region),
        allow=given.allow,
        did=given.did.strip(),
        treatment=treatment,
        target=target,
        reason=given.reason,
        expires_at=read_time(given.expires_at),
    )


def read_rules(given: Sequence[RuleIn], policy: Policy) -> Iterator[Rule | InputError]:
    """Yield each rule, or what is wrong with it."""
    for each in given:
        try:
            yield read_rule(each, policy)
        except InputError as error:
            yield error


def show_rule(row: RuleRow) -> dict[str, Any]:
    """Return a rule as RuleOut has it."""
    return {
        "id": row.id,
        "kind": row.kind.value,
        "pattern": row.pattern,
        "allow": row.allow,
        "did": row.did,
        "treatment": row.treatment.value,
        "target": row.target,
        "reason": row.reason,
        "expires_at": show_time(row.expires_at),
        "created_by": row.created_by,
        "created_at": show_time(row.created_at),
        "hits": row.hits,
        "last_hit_at": show_time(row.last_hit_at),
    }


def tag_of(row: RuleRow) -> str:
    """Return the ETag of a rule: calls that count hits do not change it."""
    return etag(
        [row.kind, row.pattern, row.allow, row.did, row.treatment, row.target, row.reason, row.expires_at]
    )
