"""The company of these tests: who calls it, who works there, whom it does not want to hear."""

# display names that have broken others, by the caller's number
NAMES = {
    "4930100001": "Erika Mustermann",
    "4930100002": 'Erika "Rika" Mustermann',
    "4930100003": "Müller, Söhne & Co. (Berlin) [Nord]",
    "4930100004": "${EXTEN} $[1+1] ${SHELL(id)}",
    "4930100005": "Zoë 🦊 李小龍",
    "4930100006": "back\\slash; semi:colon=equal|pipe",
    "4930100007": "Long " + "name " * 39,  # 200 characters
    "4930100008": '\'; EXEC System "touch /tmp/owned"',
    "4930100009": "äöü" * 40,
}
SHOWN = {  # where that is not the name itself: at most 40 characters and 79 bytes
    "4930100007": "Long " + "name " * 6 + "name",
    "4930100009": "äöü" * 13,
}
OWNED = "4930200001"  # her owner is Anna (101)
OWNED_BY_BEN = "4930200002"  # 102
TREATED = {  # blacklisted number → treatment
    "4930300001": "hangup",
    "4930300002": "busy",
    "4930300003": "congestion",
    "4930300004": "voicemail:900",
    "4930300005": "announce:/etc/asterisk/sounds/tone",
    "4930300006": "redirect:8000",
    "4930300007": "voicemail",
    "4930300008": "redirect:nowhere",
}
NOT_ANONYMOUSLY = "4930777103"  # on this DID, anonymous callers get a busy tone
STRANGER = "4930999999"

AGENTS = """Name,Email,Extension,SalesforceUserId
Anna,anna@example.com,101,005000000000001
Ben,ben@example.com,102,005000000000002
Reception,reception@example.com,103,
"""


def contacts() -> str:
    """Return the CSV file of contacts."""
    rows = ["Id,Name,Phone,OwnerId,Owner.Email,Type"]
    people = {**NAMES, OWNED: "Otto Owned", OWNED_BY_BEN: "Berta Owned"}
    owners = {OWNED: "005000000000001,anna@example.com", OWNED_BY_BEN: "005000000000002,ben@example.com"}
    for index, (number, name) in enumerate(people.items()):
        quoted = name.replace('"', '""')
        rows.append(f'003{index:012},"{quoted}",+{number},{owners.get(number, ",")},Contact')
    return "\n".join(rows) + "\n"


def blacklist() -> str:
    """Return the CSV file of blacklist entries."""
    rows = ["Pattern,Kind,Did,Treatment,Reason,Expires"]
    rows += [f"+{number},exact,,{treatment},test," for number, treatment in TREATED.items()]
    rows.append(f",anonymous,{NOT_ANONYMOUSLY},busy,test,")
    return "\n".join(rows) + "\n"


def blocked(treatment: str) -> str:
    """Return the number that is treated so."""
    return next(number for number, wanted in TREATED.items() if wanted == treatment)
