"""Recorded answers of real orgs: those in the tests of the wheel of cumulusci (BSD-3), fetched and never kept here.

They are YAML written by vcrpy. Read is only what is needed of it: of each interaction the method, the address
and the JSON of the answer, whose text is a folded or a quoted scalar.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

WHEEL = "cumulusci-4.10.1-py3-none-any.whl"
_REQUEST = re.compile(r"method: (\w+)\s+uri: (\S+)")
_TEXT = re.compile(r"""string:\s+(?:(?P<folded>>-?)\n|(?P<quote>["']))""")
_DOUBLE = re.compile(r'((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"((?:[^']|'')*)'(?!')", re.DOTALL)


class Recording(NamedTuple):
    file: str
    method: str
    target: str  # path and query behind /services/data/vNN.0/
    answer: Any


def fetch() -> Path | None:
    """Return the wheel, from the cache or a package index; None when it cannot be had."""
    named = os.environ.get("OSTIARY_TEST_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ostiary-tests"
    folder = Path(named) if named else usual
    if not (folder / WHEEL).exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(folder), "cumulusci==4.10.1"]
        if subprocess.run(command, check=False, capture_output=True, timeout=300).returncode:
            return None
    return folder / WHEEL


def recordings(wheel: Path) -> list[Recording]:
    """Return every recorded answer of the REST API that is JSON."""
    found: list[Recording] = []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if "cassettes/" in name and name.endswith(".yaml"):
                found += _interactions(name, archive.read(name).decode())
    return found


def _interactions(name: str, text: str) -> Iterator[Recording]:
    requests = list(_REQUEST.finditer(text))
    for place, request in enumerate(requests):
        end = requests[place + 1].start() if place + 1 < len(requests) else len(text)
        target = re.fullmatch(r"https://[^/]+/services/data/v[\dx]+\.0/(.*)", request[2])
        scalar = _TEXT.search(text, request.end(), end)
        if target is None or scalar is None:
            continue  # another API, or an answer told before
        try:
            answer = json.loads(_scalar(text, scalar), strict=False)
        except json.JSONDecodeError:
            continue
        yield Recording(Path(name).name, request[1], unquote_plus(target[1]), answer)


def _scalar(text: str, start: re.Match[str]) -> str:
    if start["folded"]:
        block = re.match(r"( +)\S.*\n(?:\1.*\n?|\s*\n)*", text[start.end() :])
        return block[0] if block else ""
    if start["quote"] == "'":
        quoted = _SINGLE.match(text, start.end())
        return re.sub(r"\s*\n\s*", " ", quoted[1]).replace("''", "'") if quoted else ""
    quoted = _DOUBLE.match(text, start.end())
    if quoted is None:
        return ""
    joined = re.sub(r"\\\n\s*", "", quoted[1])  # a line that ends with a backslash goes on
    joined = re.sub(r"\s*\n\s*", " ", joined).replace("\\ ", " ")
    return str(json.loads(f'"{joined}"'))
