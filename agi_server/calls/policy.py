"""What the company wants: everything that settings, DIDs, agents and pattern rules say, compiled once.

A Policy never changes; when a table or a setting does, a new one is compiled and swapped in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agi_server.calls.directory import Agent, Treatment
from agi_server.calls.reformatting import ReformatRule
from agi_server.calls.screening import RuleBook


@dataclass(frozen=True, slots=True, kw_only=True)
class DidPolicy:
    """What applies to calls on one DID; the defaults of the settings where the DID says nothing."""

    region: str = "US"  # ISO country of numbers written without one
    identify: bool = True
    naming: bool = True
    screening: bool = True
    routing: bool = True
    create_contacts: bool = False
    template: str = "{name}"
    default_agent: str = ""  # extension of the responsible agent for callers without one
    ring_seconds: int = 20
    fallback: str = ""
    last_agent_minutes: int = 0  # 0: off


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole house. `dids` is keyed by the DID's bare digits (or its text where it has none)."""

    default: DidPolicy = DidPolicy()
    dids: Mapping[str, DidPolicy] = field(default_factory=dict)
    agents: tuple[Agent, ...] = ()
    by_extension: Mapping[str, Agent] = field(default_factory=dict)
    by_id: Mapping[int, Agent] = field(default_factory=dict)
    by_email: Mapping[str, Agent] = field(default_factory=dict)
    by_salesforce_user: Mapping[str, Agent] = field(default_factory=dict)
    rules: RuleBook = field(default_factory=RuleBook)
    reformat: tuple[ReformatRule, ...] = ()
    own_extensions: str = ""  # full-match RE2 pattern; agents' extensions count anyway
    kind_order: tuple[str, ...] = ("Contact", "Account", "Lead", "Opportunity")
    tail_digits: int = 0  # 0: off
    switchboard_digits: int = 5  # at most so many digits behind a main number; 0: off
    trunk_name: str = (
        "directory"  # whose name wins: directory | trunk | fill (trunk's unless it is a placeholder)
    )
    charset: str = "utf-8"  # utf-8 | latin-1 | ascii
    name_length: int = 40  # characters
    anonymous_name: str = ""  # shown for anonymous callers; empty: what the trunk sent
    unknown_template: str = ""  # shown for unknown numbers; empty: what the trunk sent
    ambiguous_name: str = "{name}"
    known_bypass: bool = True  # known contacts bypass every rule but exact ones
    default_treatment: Treatment = Treatment.HANGUP  # of rules that name none
    last_caller: str = "own"  # whose last caller a feature code blocks: own (the extension's) | any
    use_restricted: bool = False  # match a number whose presentation is restricted
    timezone: str = "UTC"
    holidays: frozenset[str] = frozenset()  # YYYY-MM-DD, or MM-DD for every year
    vip_ring_seconds: int = 0  # 0: as for everyone
    skip_busy: bool = True  # agents whose phone is known to be busy are not rung
    state_seconds: int = 30  # what a PBX told of phones counts for so long
    vip_agent: str = ""  # extension that VIPs without a present owner reach first
