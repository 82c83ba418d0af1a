"""Which encoding a file is in.

A byte-order mark is believed. Otherwise the lines that are not plain ASCII decide, wherever in the file they
are: UTF-8 if most of them are valid UTF-8 (nothing else looks like it by chance), else what
charset-normalizer makes of a sample of them.
"""

from __future__ import annotations

import codecs
from typing import BinaryIO

from agi_server.errors import InputError

BLOCK = 1 << 20
SAMPLE = 1 << 16

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"PK\x03\x04", "an Excel or LibreOffice workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"SQLite format 3", "an SQLite database"),
)
# What exports are written in where they are not Unicode.
_LEGACY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257",
    "cp932", "gb18030", "big5", "euc_kr", "mac_roman", "cp850",
]  # fmt: skip


def find_encoding(file: BinaryIO, wanted: str = "") -> str:
    """Return the name of the codec that reads `file`, and rewind it. Raises InputError if it is not text.

    `wanted` overrides what is found; UTF-8 is always read with or without its byte-order mark.
    """
    file.seek(0)
    head = file.read(SAMPLE)
    file.seek(0)
    for magic, what in _NO_TEXT:
        if head.startswith(magic):
            raise InputError(f"this is {what}, not a text file: save it as “CSV UTF-8” and import that")
    if wanted:
        return _known(wanted)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _with_mark(encoding)
    if (zeros := head.count(0)) > len(head) // 4:  # ASCII as UTF-16: every other byte
        return "utf-16-le" if head[1::2].count(0) * 2 > zeros else "utf-16-be"
    sample = _telling_lines(file)
    file.seek(0)
    return _guess(sample)


def _known(name: str) -> str:
    try:
        encoding = codecs.lookup(name).name
        "".encode(encoding)  # base64 and its like are codecs too
    except LookupError as error:
        raise InputError(f"unknown encoding “{name}”: try utf-8, utf-16, cp1252 or latin-1") from error
    return _with_mark(encoding)


def _with_mark(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _telling_lines(file: BinaryIO) -> list[bytes]:
    """Return lines that are not plain ASCII, `SAMPLE` bytes of them at most."""
    lines: list[bytes] = []
    room = SAMPLE
    rest = b""
    while room > 0 and (block := file.read(BLOCK)):
        if rest.isascii() and block.isascii():
            rest = b""
            continue
        *whole, rest = (rest + block).split(b"\n")
        rest = rest[-SAMPLE:]
        for line in whole:
            if not line.isascii():
                lines.append(line[:SAMPLE])
                room -= len(line)
                if room <= 0:
                    break
    if rest and not rest.isascii() and room > 0:
        lines.append(rest)
    return lines


def _guess(lines: list[bytes]) -> str:
    good = sum(_is_utf8(line) for line in lines)
    if good * 2 >= len(lines):  # lines without any: plain ASCII, which UTF-8 reads too
        return "utf-8-sig"
    import charset_normalizer  # noqa: PLC0415  # slow to load, rarely needed

    found = charset_normalizer.from_bytes(b"\n".join(lines), cp_isolation=_LEGACY)
    best = found.best()
    if best is None:
        return "cp1252"
    # Short names tell little: among equals it is what Windows writes in Western Europe and America.
    equals = (match for match in found if match.chaos <= best.chaos)
    return "cp1252" if any("cp1252" in match.could_be_from_charset for match in equals) else best.encoding


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
