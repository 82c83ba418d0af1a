"""The column headings that other programs write, and what they mean to us.

Case, accents, spaces and punctuation do not matter: “Teléfono móvil” and `telefono_movil` are the same. A
field is named by the heading that the export writes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from agi_server.errors import InputError

# field → what it is called elsewhere: Salesforce (API names, report labels), Google (old and new export),
# Outlook in English, German, Spanish and Portuguese
CONTACT_HEADINGS: dict[str, tuple[str, ...]] = {
    "Id": ("Contact ID", "Lead ID", "Opportunity ID", "Record ID", "Case Safe ID", "Contact ID (18)"),
    "Type": ("Object", "Object Type", "Kind"),
    "Name": (
        "Full Name", "Contact Name", "Display Name", "File As", "Opportunity Name", "Vollständiger Name",
        "Anzeigename", "Speichern unter", "Nombre completo", "Nombre", "Nome completo", "Nome",
    ),
    "FirstName": (
        "Given Name", "Vorname", "Primer nombre", "Nombre de pila", "Primeiro nome", "Nome próprio",
    ),
    "LastName": (
        "Family Name", "Surname", "Nachname", "Familienname", "Apellidos", "Apellido", "Apelido",
        "Apelidos", "Sobrenome", "Último nome",
    ),
    "Account.Name": (
        "Account", "Company", "Company Name", "Company / Account", "Organization", "Organisation",
        "Organization Name", "Organization 1 - Name", "Firma", "Firmenname", "Unternehmen",
        "Organización", "Compañía", "Empresa", "Nombre de la empresa", "Organização", "Nome da empresa",
    ),
    "AccountId": ("Company ID",),
    "Phone": (
        "Business Phone", "Business Phone 2", "Work Phone", "Office Phone", "Primary Phone",
        "Company Main Phone", "Telephone", "Phone Number", "Number", "Main Phone", "Account Phone",
        "Contact Phone", "Lead Phone", "Telefon", "Telefonnummer", "Rufnummer", "Telefon geschäftlich",
        "Telefon geschäftlich 2", "Telefon Firma", "Haupttelefon", "Firmenhauptnummer", "Teléfono",
        "Teléfono del trabajo", "Teléfono del trabajo 2", "Teléfono trabajo", "Teléfono principal",
        "Teléfono de la oficina", "Número de centralita de la organización",
        "Teléfono principal de la compañía", "Telefone", "Telefone comercial", "Telefone comercial 2",
        "Telefone da empresa", "Telefone principal", "Telefone do trabalho",
        "Telefone principal da empresa", "Telefone Empresa",
    ),
    "MobilePhone": (
        "Mobile", "Mobile Phone", "Cell", "Cell Phone", "Cellular", "Mobile Number", "Car Phone",
        "PersonMobilePhone", "Mobiltelefon", "Mobil", "Handy", "Handynummer", "Mobilnummer",
        "Mobiltelefon 2", "Autotelefon", "Móvil", "Teléfono móvil", "Celular", "Teléfono celular",
        "Teléfono del automóvil", "Telemóvel", "Telefone móvel", "Telefone celular",
    ),
    "HomePhone": (
        "Home Phone", "Home Phone 2", "PersonHomePhone", "Telefon privat", "Telefon privat 2", "Privat",
        "Teléfono particular", "Teléfono particular 2", "Teléfono de casa", "Particular",
        "Telefone residencial", "Telefone residencial 2", "Telefone de casa", "Residencial",
    ),
    "OtherPhone": (
        "Other Phone", "PersonOtherPhone", "Callback", "Radio Phone", "Alternate Phone",
        "Weiteres Telefon", "Rückmeldung", "Otro teléfono", "Teléfono alternativo", "Outro telefone",
        "Retorno de chamada",
    ),
    "AssistantPhone": (
        "Assistant's Phone", "Asst. Phone", "PersonAssistantPhone", "Telefon Assistent",
        "Teléfono del ayudante", "Teléfono del asistente", "Telefone do assistente",
    ),
    "Email": (
        "E-mail", "Email Address", "E-mail Address", "E-mail 2 Address", "E-mail 3 Address", "Mail",
        "PersonEmail", "E-mail 1 - Value", "E-mail 2 - Value", "E-Mail-Adresse", "E-Mail 2: Adresse",
        "Correo electrónico", "Dirección de correo electrónico", "Correo", "Dirección de correo",
        "Endereço de e-mail", "Correio eletrônico", "Correio electrónico",
        "Endereço de correio electrónico", "Endereço de correio eletrónico",
    ),
    "OwnerId": ("Owner ID", "Contact Owner: User ID", "Account Owner: User ID", "Lead Owner: User ID"),
    "Owner.Email": (
        "Owner Email", "Owner E-mail", "Contact Owner: Email", "Account Owner: Email",
        "Lead Owner: Email", "Opportunity Owner: Email", "Contact Owner Email", "Account Owner Email",
        "Lead Owner Email",
    ),
    "Owner.Name": (
        "Owner", "Contact Owner", "Account Owner", "Lead Owner", "Opportunity Owner", "Owner Name",
        "Contact Owner: Full Name", "Account Owner: Full Name", "Lead Owner: Full Name",
    ),
    "Vip": ("Is VIP", "VIP__c"),
    "LastActivityDate": ("Last Activity", "Last Activity Date"),
    "Database": ("Id Database", "IdDatabase"),
    "Key": (),
}  # fmt: skip
PHONE_FIELDS = ("Phone", "MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone")

BLACKLIST_HEADINGS: dict[str, tuple[str, ...]] = {
    "Pattern": (
        "Number",
        "Phone",
        "Phone Number",
        "Caller ID",
        "CallerID",
        "CID",
        "Nummer",
        "Rufnummer",
        "Número",
    ),
    "Kind": ("Type",),
    "Did": ("DID Number", "Called Number"),
    "Treatment": ("Action", "Destination"),
    "Reason": (
        "Description",
        "Comment",
        "Note",
        "Name",
        "Beschreibung",
        "Motivo",
        "Descripción",
        "Descrição",
    ),
    "Expires": ("Expires At", "Expiry", "Until"),
}
AGENT_HEADINGS: dict[str, tuple[str, ...]] = {
    "Name": ("Full Name", "Display Name", "Agent"),
    "Email": ("E-mail", "Email Address", "E-mail Address", "Mail"),
    "Extension": ("Ext", "Number", "Nebenstelle", "Extensión", "Ramal", "Extensão"),
    "SalesforceUserId": ("Salesforce User ID", "User ID", "Salesforce ID"),
    "Hours": ("Working Hours",),
    "Timezone": ("Time Zone",),
    "AbsentUntil": (),
    "Delegate": ("Deputy", "Delegate Extension"),
    "RingSeconds": ("Ring Time", "Ring Seconds"),
    "Fallback": (),
}

# Google's columns come in pairs, as many as the contact with most numbers has.
_PHONE_VALUE = re.compile(r"phone(\d+)value")
_PHONE_LABEL = re.compile(r"phone(\d+)(?:type|label)")
# On its own the word is the whole name; beside a column for the other half it is this half.
_FIRST_NAMES = frozenset({"nombre", "nome"})
_LAST_NAMES = frozenset({"name"})


def simplify(heading: str) -> str:
    """Return what makes two spellings of a heading the same: letters and digits, no case, no accents."""
    plain = unicodedata.normalize("NFKD", heading.casefold())
    return "".join(character for character in plain if character.isalnum())


def spellings(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return simplified heading → field; a field's own name wins over another's alias."""
    known = {simplify(alias): name for name, aliases in fields.items() for alias in aliases}
    return known | {simplify(name): name for name in fields}


def find_fields(
    headings: Sequence[str], fields: Mapping[str, Sequence[str]], mapping: Mapping[str, str] | None = None
) -> list[str]:
    """Return the field of each heading, '' where nobody reads it.

    `mapping` (their heading → our field, '' to leave the column out) wins. Raises InputError when it names a
    heading the file has not, or a field there is not.
    """
    known = spellings(fields)
    chosen: dict[str, str] = {}
    for theirs, ours in (mapping or {}).items():
        if simplify(theirs) not in map(simplify, headings):
            raise InputError(f"the file has no column “{theirs}”; it has {_listed(headings)}")
        if ours and simplify(ours) not in known:
            raise InputError(f"“{ours}” is no field of ours; there are {_listed(list(fields))}")
        chosen[simplify(theirs)] = known.get(simplify(ours), "")
    return [chosen.get(heading, known.get(heading, "")) for heading in map(simplify, headings)]


def contact_fields(headings: Sequence[str], mapping: Mapping[str, str] | None = None) -> list[str]:
    """Return the contact field of each heading; see `find_fields`."""
    found = find_fields(headings, CONTACT_HEADINGS, mapping)
    plain = [simplify(heading) for heading in headings]
    chosen = {simplify(theirs) for theirs in mapping or ()}
    has_last = "LastName" in found
    has_first = "FirstName" in found
    for index, heading in enumerate(plain):
        if heading in chosen:
            continue
        if _PHONE_VALUE.fullmatch(heading):
            found[index] = "Phone"
        elif heading in _FIRST_NAMES and has_last and not has_first:
            found[index] = "FirstName"
        elif heading in _LAST_NAMES and has_first and not has_last and "vorname" in plain:
            found[index] = "LastName"
    return found


def label_columns(headings: Sequence[str]) -> dict[int, int]:
    """Return index of a Google phone column → index of the column that says what kind of number it is."""
    labels: dict[str, int] = {}
    for index, heading in enumerate(headings):
        if match := _PHONE_LABEL.fullmatch(simplify(heading)):
            labels[match[1]] = index
    pairs: dict[int, int] = {}
    for index, heading in enumerate(headings):
        if (match := _PHONE_VALUE.fullmatch(simplify(heading))) and match[1] in labels:
            pairs[index] = labels[match[1]]
    return pairs


def phone_field(kind: str) -> str:
    """Return the phone field for a kind of number as Google and vCard name it; '' for a fax or a pager."""
    words = set(re.findall(r"[a-z]+", kind.lower()))
    if words & {"fax", "pager", "telex", "modem", "bbs", "isdn", "tty", "textphone"}:
        return ""
    if words & {"cell", "mobile", "iphone", "car", "handy", "mobil", "movil", "celular"}:
        return "MobilePhone"
    if words & {"home", "privat"}:
        return "HomePhone"
    if "other" in words:
        return "OtherPhone"
    if not words or words & {"work", "main", "voice", "pref", "office", "business"}:
        return "Phone"
    return "OtherPhone"


def nothing_known(headings: Sequence[str], fields: Mapping[str, Sequence[str]]) -> InputError:
    """Return the error for a file whose headings say nothing to us."""
    return InputError(
        f"no column of the file is known: it has {_listed(headings)}; known are {_listed(list(fields))} and "
        "what Salesforce reports, Google and Outlook call them; name others with --map “Their heading=Phone”"
    )


def _listed(headings: Sequence[str]) -> str:
    shown = [f"“{heading[:40]}”" for heading in headings[:30]]
    if len(headings) > len(shown):
        shown.append(f"… ({len(headings)} in all)")
    return ", ".join(shown) or "none"
