"""Try before you trust: what would another set of rules or settings have done to calls of the past?

Each call is decided twice at the time it came, by the directory as it is and by the edited one, and the two decisions
are compared with each other, not with what was decided then: contacts, agents and absences are today's in both, so
that nothing shows but the edit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agi_server.calls.call import Call, Decision
from agi_server.calls.decide import decide
from agi_server.calls.directory import Contact, Directory, Rule, RuleKind
from agi_server.calls.numbers import Switchboard
from agi_server.calls.policy import Policy
from agi_server.calls.screening import RuleBook

_WITHHELD = 0x20  # presentation: restricted


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """An inbound call as the journal has it; `at` is seconds since 1970, `name` the one that was shown."""

    id: str
    at: int
    number: str  # as sent
    name: str = ""
    did: str = ""
    trunk: str = ""
    anonymous: bool = False

    def call(self) -> Call:
        """Return the call to decide anew. What its trunk sent as a name is not known: what was shown stands for it."""
        return Call(
            id=self.id,
            number=self.number,
            name=self.name,
            did=self.did,
            trunk=self.trunk,
            presentation=_WITHHELD if self.anonymous else 0,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A call that the edit decides otherwise; `what` names the fields of the decision that differ."""

    call: PastCall
    was: Decision
    would_be: Decision
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What an edit does to so many calls; `verdicts` counts (was, would be)."""

    calls: int
    verdicts: Mapping[tuple[str, str], int]
    differences: Sequence[Difference]


# What the caller, or the one who answers, would notice.
NOTICED = (
    "verdict",
    "treatment",
    "route",
    "route_type",
    "ring_seconds",
    "fallback",
    "display_name",
    "create_contact",
)


class Edited:
    """`Directory` over another one, with rules added and removed, and another policy where one is given.

    A rule that is added takes the place of one that says the same of the same numbers, as it does in the database.
    Its id should be above all there are: between equals the older rule wins.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        add: Iterable[Rule] = (),
        remove: Collection[int] = (),
        policy: Policy | None = None,
    ) -> None:
        self._directory = directory
        self._removed = frozenset(remove)
        self._added = {_about(rule): rule for rule in add}
        base = policy or directory.policy()
        patterns = [rule for rule in self._added.values() if rule.kind is not RuleKind.EXACT]
        self._policy = replace(base, rules=RuleBook([*filter(self._stays, base.rules), *patterns]))
        self._exact: dict[str, list[Rule]] = {}
        for rule in self._added.values():
            if rule.kind is RuleKind.EXACT:
                self._exact.setdefault(rule.pattern, []).append(rule)

    def _stays(self, rule: Rule) -> bool:
        return rule.id not in self._removed and _about(rule) not in self._added

    def policy(self) -> Policy:
        """Return the edited policy, which stays as it was compiled at first."""
        return self._policy

    def exact_rules(self, pattern: str) -> list[Rule]:
        """Return those of the directory that are not removed, and the ones added."""
        there = filter(self._stays, self._directory.exact_rules(pattern))
        return [*there, *self._exact.get(pattern, ())]

    def contacts_by_number(self, e164: int) -> list[Contact]:
        """Ask the directory."""
        return self._directory.contacts_by_number(e164)

    def contacts_by_switchboard(self, prefixes: Sequence[int]) -> list[tuple[Contact, Switchboard]]:
        """Ask the directory."""
        return self._directory.contacts_by_switchboard(prefixes)

    def contacts_by_tail(self, digits: str, length: int, *, with_country: bool) -> list[Contact]:
        """Ask the directory."""
        return self._directory.contacts_by_tail(digits, length, with_country=with_country)

    def last_agent(self, e164: int, since: int) -> str:
        """Ask the directory."""
        return self._directory.last_agent(e164, since)

    def agent_state(self, extension: str, since: int) -> str:
        """Ask the directory."""
        return self._directory.agent_state(extension, since)


def _about(rule: Rule) -> tuple[str, str, str, bool]:
    return rule.kind, rule.pattern, rule.did, rule.allow


def replay(calls: Iterable[PastCall], directory: Directory, edited: Directory) -> Replay:
    """Return what would have been decided otherwise; never raises (`decide` does not)."""
    verdicts: Counter[tuple[str, str]] = Counter()
    differences = []
    count = 0
    for past in calls:
        count += 1
        call = past.call()
        was, would_be = decide(call, directory, past.at), decide(call, edited, past.at)
        verdicts[was.verdict.value, would_be.verdict.value] += 1
        what = tuple(name for name in NOTICED if getattr(was, name) != getattr(would_be, name))
        if what:
            differences.append(Difference(past, was, would_be, what))
    return Replay(calls=count, verdicts=verdicts, differences=differences)
