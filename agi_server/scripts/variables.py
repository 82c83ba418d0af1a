"""Every channel variable Ostiary sets, named once.

Empty values are set too, so that a re-used channel never keeps an old one. The order is the order on the wire,
and ACTION comes last: the dialplan empties it before it asks and tests it afterwards, because Asterisk reports
AGISTATUS=SUCCESS even when the server dies half-way (res_agi.c).
"""

from __future__ import annotations

from agi_server.calls import routing
from agi_server.calls.call import Decision
from agi_server.calls.directory import Contact
from storage.contacts import FoundContact

CALLER_NAME = "CALLERID(name)"  # what the phone shows
CONNECTED_NAME = "CONNECTEDLINE(name)"  # what the phone of an outgoing caller shows
CLAVESF = "CLAVESF"  # <contact id>-<data>

# Behind the prefix (OSTIARY_ unless a setting says otherwise):
ACTION = "ACTION"  # allow | block
REASON = "REASON"  # one token
TREATMENT = "TREATMENT"  # hangup | busy | congestion | voicemail | announce | redirect; empty when allowed
ROUTE = "ROUTE"  # what to dial; empty: the PBX's own plan
ROUTE_TYPE = "ROUTE_TYPE"  # extension | queue | external | voicemail | none
RING_SECONDS = "RING_SECONDS"  # how long ROUTE rings
FALLBACK = "FALLBACK"  # what to dial after that; empty: the PBX's own plan
AGENT = "AGENT"  # the responsible agent's extension
CONTACT = "CONTACT"  # Salesforce id, or the local id while there is none
CALL = "CALL"  # Ostiary's id of this call
RESULT = "RESULT"  # of a feature code or a message
STATUS = "STATUS"  # of ping


def contact_id(contact: Contact | FoundContact | None) -> str:
    """Return the Salesforce id of a contact, its local id while it has none, or ''."""
    return "" if contact is None else contact.salesforce_id or str(contact.id)


def clavesf(decision: Decision) -> str:
    """Return `<contact id>-<number>` for a known caller (nothing behind the dash for an anonymous one), else ''."""
    return "" if decision.contact is None else f"{decision.contact.id}-{decision.number.text}"


def clavesf_of(found: FoundContact | None, data: str) -> str:
    """Return `<contact id>-<data>` of an insert look-up, '' where there is no contact."""
    return "" if found is None else f"{found.id}-{data}"


def diallable(destination: str) -> str:
    """Return `destination` if a dialplan may dial it, else ''."""
    return destination if routing.diallable(destination) else ""


def of_decision(decision: Decision, prefix: str, *, name_variable: str) -> dict[str, str]:
    """Return what the PBX is told about an inbound call, in the order of the wire.

    The name is left out when there is none to show: what the trunk sent stays.
    """
    agent = decision.agent
    values = {
        CLAVESF: clavesf(decision),
        prefix + REASON: decision.reason,
        prefix + TREATMENT: decision.treatment,
        prefix + ROUTE: diallable(decision.route),
        prefix + ROUTE_TYPE: str(decision.route_type),
        prefix + RING_SECONDS: str(decision.ring_seconds) if decision.ring_seconds else "",
        prefix + FALLBACK: diallable(decision.fallback),
        prefix + AGENT: agent.extension if agent else "",
        prefix + CONTACT: contact_id(decision.contact),
        prefix + CALL: decision.call.id,
        prefix + ACTION: str(decision.verdict),
    }
    if decision.display_name:
        return {name_variable: decision.display_name, **values}
    return values
