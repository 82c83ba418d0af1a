"""The console's catalogues: collects the messages of templates and modules, and writes them into the .po files.

    python -m tests.web.console.catalogue      # after a text changed; then translate what is empty

Existing translations are kept, messages that are gone are dropped, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from agi_server.web.console.languages import CATALOGUES, LANGUAGES, SOURCE

CONSOLE = CATALOGUES.parent
HEADER = """\
# Texts of the console; `python -m tests.web.console.catalogue` keeps this file in step with them.
msgid ""
msgstr ""
"Project-Id-Version: Ostiary\\n"
"Language: {language}\\n"
"Plural-Forms: {plural}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "mark": None}
JINJA = {"trimmed": "true", "silent": "false", "trim_blocks": "true", "lstrip_blocks": "true"}
JINJA["extensions"] = "jinja2.ext.loopcontrols"


def messages() -> Iterator[tuple[str, int, str | tuple[str, ...]]]:
    """Yield file (from the console's directory), line and message (a pair where there is a plural)."""
    for path in sorted([*CONSOLE.glob("*.py"), *CONSOLE.glob("templates/*.html")]):
        method = "python" if path.suffix == ".py" else "jinja2.ext:babel_extract"
        options = {} if path.suffix == ".py" else JINJA
        for line, text, _comments, _context in extract_from_file(method, path, KEYWORDS, options=options):
            yield path.relative_to(CONSOLE).as_posix(), line, text


def collected() -> Catalog:
    """Return the catalogue of all messages, untranslated."""
    catalogue = Catalog(charset="utf-8")
    for file, line, text in messages():
        catalogue.add(text, locations=[(file, line)])
    return catalogue


def stored(language: str) -> Catalog:
    """Return a catalogue as it is; an empty one where there is none yet."""
    path = CATALOGUES / f"{language}.po"
    if not path.exists():
        return Catalog(locale=language, charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=language)


def update(language: str) -> int:
    """Write a catalogue anew; return how many messages wait for a translation."""
    old, new = stored(language), Catalog(locale=language, charset="utf-8")
    for message in collected():
        if message.id:
            known = old.get(message.id)
            new.add(message.id, known.string if known is not None else "")
    body = BytesIO()
    write_po(body, new, width=110, sort_output=True, omit_header=True)
    header = HEADER.format(language=language, plural=new.plural_forms)
    (CATALOGUES / f"{language}.po").write_bytes(header.encode() + body.getvalue())
    return len([message for message in new if message.id and not forms_of(message.string)])


def forms_of(string: object) -> tuple[str, ...]:
    """Return the forms of a translation; none where one is missing."""
    forms = (
        (string,) if isinstance(string, str) else tuple(string) if isinstance(string, tuple | list) else ()
    )
    return forms if all(forms) else ()


if __name__ == "__main__":
    for each in LANGUAGES:
        if each != SOURCE:
            print(f"{each}.po:", update(each), "to translate")
