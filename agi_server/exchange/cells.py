"""What single values of a contact mean: plain text, Salesforce ids, kinds of record."""

from __future__ import annotations

from storage.salesforce_ids import LONG, SHORT, checksum

KINDS = {kind.lower(): kind for kind in ("Contact", "Account", "Lead", "Opportunity")}
KIND_OF_PREFIX = {"001": "Account", "003": "Contact", "00Q": "Lead", "006": "Opportunity"}
_PREFIXES = frozenset({*KIND_OF_PREFIX, "005", "00G"})  # and users and queues, who own records

# Controls become spaces; invisible marks that come with copied numbers (direction, width) go, and so do halves of
# characters (an emoji cut in the middle), which neither the database nor a PBX takes.
_CLEAN = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ") | dict.fromkeys(
    [
        *(0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF, 0xFFFE),
        *range(0xD800, 0xE000),
    ],
    "",
)


def clean(text: str) -> str:
    """Return a value on one line, without the invisible characters that come with copying."""
    return text.strip() if text.isprintable() else " ".join(text.translate(_CLEAN).split())


def salesforce_id(text: str) -> str:
    """Return a Salesforce id in its form of 18 characters, '' if it is none; reports give 15."""
    if not text.isalnum() or not text.isascii():
        return ""
    if len(text) == SHORT:
        return text + checksum(text)
    return text if len(text) == LONG or text[:3] in _PREFIXES else ""


def identity(own_id: str, key: str = "") -> tuple[str, str]:
    """Return (Salesforce id, key): another system's id is the key to find the record by."""
    found = salesforce_id(own_id)
    return (found, key) if found else ("", key or own_id)


def kind_of(text: str, own_id: str) -> str:
    """Return the kind of record: as stated, or as its Salesforce id begins; '' if neither tells."""
    return (KINDS.get(text.lower(), "") if text else "") or KIND_OF_PREFIX.get(own_id[:3], "")
