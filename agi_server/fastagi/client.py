"""Asterisk's side of a FastAGI dialogue: for `ostiary ask`, the demo, tests and the benchmark.

Invariant: this module knows how Asterisk *reads*, and shares nothing with commands.py, which knows how we
write, so that what one gets wrong the other shows. Where versions of Asterisk differ it takes the strictest:
lines of 2,047 bytes, 24 pairs in one MSet, one command for each time something arrives.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from agi_server.errors import RemoteProtocolError

_LINE = 2047  # what fgets() takes of a line, LF included
_WORDS = 128  # MAX_CMD_LEN of res_agi.c; 22.10.1 crashes beyond (asterisk#2069)
_PAIRS = 24
_serial = itertools.count(1)


@dataclass(slots=True)
class Outcome:
    """What a PBX knows after it has asked.

    `variables` are those set, in order of their first setting; `commands` the lines that arrived; `verbose`
    what the console showed; `status` is AGISTATUS: SUCCESS (the server closed, whyever) or FAILURE.
    """

    variables: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    verbose: list[str] = field(default_factory=list)
    status: str = "SUCCESS"


async def ask(
    host: str,
    port: int,
    script: str,
    *,
    number: str = "",
    name: str = "",
    did: str = "",
    query: Mapping[str, str] | str = "",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109  # Asterisk would wait for ever: that is the client's to bound
    source: str = "",
) -> Outcome:
    """Ask a server as `AGI(agi://host:port/script?query,args…)` does, from the local address `source`.

    Raises OSError when there is no connection, TimeoutError when the dialogue is not over after `timeout`
    seconds, RemoteProtocolError when the server sends what crashes an Asterisk.
    """
    outcome = Outcome()
    block = environment(
        script, number=number, name=name, did=did, query=query, args=args, env=env, host=host, port=port
    )
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0) if source else None)
        try:
            writer.write(block)
            await _converse(reader, writer, outcome)
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass  # Asterisk, too, takes a reset for an end
        finally:
            writer.transport.abort()
    return outcome


def environment(
    script: str,
    *,
    number: str = "",
    name: str = "",
    did: str = "",
    query: Mapping[str, str] | str = "",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    port: int = 4573,
) -> bytes:
    """Return the environment block of an Asterisk 22, 22 lines in their order and the empty one.

    Values go in raw, as Asterisk puts them in: a newline in one ends its line. `env` (keys without `agi_`)
    replaces values and adds lines behind the 22. A text query is taken as it is.
    """
    if not isinstance(query, str):
        query = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items())
    target = f"{script}?{query}" if query else script
    serial = next(_serial)
    lines = {
        "network": "yes",
        "network_script": target,
        "request": f"agi://{f'[{host}]' if ':' in host else host}:{port}/{target}",
        "channel": f"PJSIP/trunk-{serial:08x}",
        "language": "en",
        "type": "PJSIP",
        "uniqueid": f"{int(time.time())}.{os.getpid()}{serial}",
        "version": "22.10.1",
        "callerid": number or "unknown",
        "calleridname": name or "unknown",
        "callingpres": "0",
        "callingani2": "0",
        "callington": "0",
        "callingtns": "0",
        "dnid": did or "unknown",
        "rdnis": "unknown",
        "context": "from-trunk",
        "extension": did or "s",
        "priority": "3",
        "enhanced": "0.0",
        "accountcode": "",
        "threadid": "140209316071104",
    }
    if not target:
        del lines["network_script"]  # Asterisk leaves it out then
    lines |= env or {}
    lines |= {f"arg_{position}": value for position, value in enumerate(args, 1)}
    block = "".join(f"agi_{key}: {value}\n" for key, value in lines.items())
    return block.encode("utf-8", "surrogateescape") + b"\n"


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outcome: Outcome) -> None:
    """Run commands until the server closes its side; then run what is left, as Asterisk does."""
    waiting = b""
    ended = False
    while not ended:
        arrived = await reader.read(65536)
        ended = not arrived
        waiting += arrived
        for line, rest in _lines(waiting, everything=ended):
            waiting = rest
            if line[:7].lower() == b"failure":
                outcome.status = "FAILURE"
                return
            outcome.commands.append(line.decode("utf-8", "replace"))
            writer.write(_run(line, outcome))
    writer.write(b"HANGUP\n")


def _lines(waiting: bytes, *, everything: bool) -> Iterator[tuple[bytes, bytes]]:
    """Yield the next line of `waiting` and what is left behind it; all lines if `everything` has arrived.

    run_agi() waits for the socket, not for its own buffer: a second line that came along stays there.
    """
    while waiting:
        end = waiting.find(b"\n", 0, _LINE) + 1 or (_LINE if len(waiting) >= _LINE else 0)
        if not end and not everything:
            return
        line, waiting = waiting[: end or None], waiting[end or len(waiting) :]
        yield line.removesuffix(b"\n"), waiting
        if not everything:
            return


def _run(line: bytes, outcome: Outcome) -> bytes:
    """Run one command line and return the reply."""
    words = split_words(line.partition(b"\0")[0].decode("utf-8", "replace"))
    if len(words) > _WORDS:
        raise RemoteProtocolError(f"a command of {len(words)} words, which crashes Asterisk 22.10.1")
    match [words[0].upper() if words else "", *words[1:]]:
        case ["EXEC", application, *options]:
            if application.lower() != "mset":
                return b"200 result=-2\n"
            for name, value in split_pairs(options[0] if options else ""):
                _set(outcome, name, value)
            return b"200 result=0\n"
        case ["SET", variable, name, value] if variable.upper() == "VARIABLE":
            _set(outcome, name, value)
        case ["VERBOSE", text, *_]:
            outcome.verbose.append(text)
        case ["NOOP", *_]:
            return b"200 result=0\n"
        case ["EXEC" | "SET" | "VERBOSE", *_]:
            return b"520-Invalid command syntax.  Proper usage follows:\n520 End of proper usage.\n"
        case _:
            return b"510 Invalid or unknown command\n"
    return b"200 result=1\n"


def _set(outcome: Outcome, name: str, value: str) -> None:
    """Set a variable; CALLERID() trims its value, leading underscores only say who inherits it."""
    outcome.variables[name.lstrip("_")] = value.strip(" ") if name == "CALLERID(name)" else value


def split_words(line: str) -> list[str]:
    """Split a command line: parse_args() of res_agi.c.

    Space and tab separate; a quotation mark anywhere begins or ends quoting; a backslash takes the next
    character as it is, within quotes and without.
    """
    words: list[str] = []
    quoted = escaped = False
    between = True
    for character in line:
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and between:
                words.append("")
                between = False
        elif character in " \t" and not quoted and not escaped:
            between = True
        elif character == "\\" and not escaped:
            escaped = True
        else:
            if between:
                words.append("")
                between = False
            words[-1] += character
            escaped = False
    return words


def split_pairs(options: str) -> list[tuple[str, str]]:
    """Split the options of MSet at commas, each then at its first `=`: pbx_builtin_setvar_multiple()."""
    pairs: list[tuple[str, str]] = []
    for argument in _separate(options, ",", _PAIRS):
        name, *value = _separate(argument, "=", 2)
        if value:  # else MSet warns and goes on
            pairs.append((name, value[0]))
    return pairs


def _separate(text: str, delimiter: str, at_most: int) -> list[str]:
    """Split at delimiters outside quotes and brackets, and drop quotation marks and backslashes.

    That is __ast_app_separate_args() of main/app.c.
    The last of `at_most` parts is whatever is left, as it stands.
    """
    parts: list[str] = []
    position = 0
    delimited = False
    depth = {"(": 0, "[": 0}  # brackets left open stay open in the parts that follow
    quoted = False
    while position < len(text) and len(parts) < at_most - 1:
        part = ""
        delimited = False
        while position < len(text) and not delimited:
            character = text[position]
            position += 1
            if character == delimiter and not quoted and not any(depth.values()):
                delimited = True
            elif character == '"':
                quoted = not quoted
            elif character == "\\":
                part += text[position : position + 1]
                position += 1
            else:
                if character in "([":
                    depth[character] += 1
                elif character in ")]":
                    opening = "(" if character == ")" else "["
                    depth[opening] = max(0, depth[opening] - 1)
                part += character
        parts.append(part)
    if position < len(text) or delimited:
        parts.append(text[position:])
    return parts
