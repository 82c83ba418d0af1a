"""A directory in plain lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from agi_server.calls.directory import Agent, Contact, Rule, RuleKind
from agi_server.calls.numbers import Switchboard, read_field
from agi_server.calls.policy import Policy
from agi_server.calls.screening import RuleBook


@dataclass
class MemoryDirectory:
    """Answers from lists; `asked` counts the questions."""

    house: Policy = field(default_factory=Policy)
    phones: dict[int, list[Contact]] = field(default_factory=dict)
    local: list[tuple[str, Contact]] = field(default_factory=list)
    switchboards: list[tuple[Contact, Switchboard]] = field(default_factory=list)
    exact: dict[str, list[Rule]] = field(default_factory=dict)
    spoken: dict[int, tuple[int, str]] = field(default_factory=dict)
    states: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, contact: Contact, *phones: str, region: str = "DE") -> Contact:
        for text in phones:
            for number in read_field(text, region):
                if number.e164:
                    self.phones.setdefault(number.e164, []).append(contact)
                else:
                    self.local.append((number.digits, contact))
                if number.switchboard is not None:
                    self.switchboards.append((contact, number.switchboard))
        return contact

    def rule(self, *rules: Rule) -> None:
        for rule in rules:
            if rule.kind is RuleKind.EXACT:
                self.exact.setdefault(rule.pattern, []).append(rule)
        patterns = [rule for rule in rules if rule.kind is not RuleKind.EXACT]
        self.house = replace(self.house, rules=RuleBook(patterns))

    def policy(self) -> Policy:
        return self.house

    def contacts_by_number(self, e164: int) -> list[Contact]:
        return self.phones.get(e164, [])

    def contacts_by_switchboard(self, prefixes: Sequence[int]) -> list[tuple[Contact, Switchboard]]:
        return [pair for pair in self.switchboards if pair[1].prefix in prefixes]

    def contacts_by_tail(self, digits: str, length: int, *, with_country: bool) -> list[Contact]:
        tail = digits[-length:]
        found = [contact for number, contact in self.local if number[-length:] == tail]
        if not with_country:
            for e164, contacts in self.phones.items():
                if str(e164)[-length:] == tail:
                    found += contacts
        return found

    def exact_rules(self, pattern: str) -> list[Rule]:
        return self.exact.get(pattern, [])

    def last_agent(self, e164: int, since: int) -> str:
        at, extension = self.spoken.get(e164, (0, ""))
        return extension if at > since else ""

    def agent_state(self, extension: str, since: int) -> str:
        at, state = self.states.get(extension, (0, ""))
        return state if at >= since else ""


def house(*agents: Agent, **changes: object) -> Policy:
    """Return a policy with these agents indexed as the compiled one has them."""
    return replace(
        Policy(
            agents=agents,
            by_extension={agent.extension: agent for agent in agents},
            by_id={agent.id: agent for agent in agents},
            by_email=_index(agents, "email"),
            by_salesforce_user=_index(agents, "salesforce_user_id"),
        ),
        **changes,  # type: ignore[arg-type]
    )


def _index(agents: Iterable[Agent], name: str) -> dict[str, Agent]:
    return {getattr(agent, name): agent for agent in agents if getattr(agent, name)}
