"""A decision as a document: the one shape that the API, events and the console show.

Keys and values are plain (text, numbers, lists), so that any program may read them; names and numbers are as they
are, for whoever shows them to make safe.
"""

from __future__ import annotations

from typing import Any

from agi_server.calls.call import Decision
from agi_server.calls.directory import Agent, Contact, Rule


def document(decision: Decision, at: float) -> dict[str, Any]:
    """Return the document of a decision made `at` (seconds since 1970)."""
    call, number = decision.call, decision.number
    return {
        "id": call.id,
        "uniqueid": call.uniqueid,
        "at": int(at),
        "direction": call.direction.value,
        "number": number.text,
        "number_sent": call.number,
        "number_state": number.state.value,
        "name_sent": call.name,
        "did": call.did,
        "trunk": call.trunk,
        "display_name": decision.display_name,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "rule": _rule(decision.rule),
        "treatment": decision.treatment,
        "rung": decision.rung.value,
        "ambiguous": decision.ambiguous,
        "contact": _contact(decision.contact),
        "company": decision.company,
        "agent": _agent(decision.agent),
        "route": decision.route,
        "route_type": decision.route_type.value,
        "ring_seconds": decision.ring_seconds,
        "fallback": decision.fallback,
        "create_contact": decision.create_contact,
        "trace": [step._asdict() for step in decision.trace],
    }


def _contact(contact: Contact | None) -> dict[str, Any] | None:
    if contact is None:
        return None
    return {
        "id": contact.id,
        "kind": contact.kind,
        "name": contact.name,
        "account": contact.account,
        "owner": contact.owner,
        "owner_email": contact.owner_email,
        "vip": contact.vip,
        "salesforce_id": contact.salesforce_id,
    }


def _agent(agent: Agent | None) -> dict[str, Any] | None:
    return None if agent is None else {"name": agent.name, "extension": agent.extension, "email": agent.email}


def _rule(rule: Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {
        "id": rule.id,
        "kind": rule.kind.value,
        "pattern": rule.pattern,
        "allow": rule.allow,
        "did": rule.did,
        "reason": rule.reason,
    }
