"""`ostiary dialplan`: what to paste into the PBX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import agi_server
from agi_server.cli.context import settings_of
from agi_server.errors import InputError, OstiaryError
from agi_server.fastagi.sockets import reach


class Pbx(StrEnum):
    """The systems we have a dialplan for."""

    ASTERISK = "asterisk"
    FREEPBX = "freepbx"
    MANAGER = "manager"  # Asterisk's manager user, of either


# What each needs: file of the dialplan folder, and where it goes.
PARTS: Mapping[Pbx, Mapping[str, str]] = {
    Pbx.ASTERISK: {
        "asterisk/ostiary.conf": """\
Save this as /etc/asterisk/ostiary.conf, add the line `#include ostiary.conf` to extensions.conf,
; call its subroutines from your plan (they are listed below), then: asterisk -rx 'dialplan reload'""",
    },
    Pbx.FREEPBX: {
        "asterisk/ostiary.conf": "1. Save this, down to part 2, as /etc/asterisk/ostiary.conf",
        "freepbx/extensions_custom.conf": """\
2. Add this to /etc/asterisk/extensions_custom.conf, then: fwconsole reload""",
    },
    Pbx.MANAGER: {
        "asterisk/manager.conf": """\
Add this to /etc/asterisk/manager.conf (FreePBX: manager_custom.conf) with a secret of your own,
; give Ostiary the same (ami.secret_file), then: asterisk -rx 'manager reload'""",
    },
}
_RULE = "; " + "=" * 100
_SERVER = re.compile(r"^(OSTIARY_SERVER\s*=\s*)[^\s;]+", re.MULTILINE)
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def dialplan(
    ctx: typer.Context,
    pbx: Annotated[Pbx, typer.Argument(help="Which system.")],
    *,
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the PBX reaches Ostiary; default: fastagi.listen.")
    ] = "",
) -> None:
    """Print what to paste into the PBX, and where each part goes."""
    if not server:
        host, port = reach(settings_of(ctx).fastagi.listen)
        server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    typer.echo(render(pbx, server), nl=False)


def render(pbx: Pbx, server: str) -> str:
    """Return the files for a PBX, each after a comment that says where it goes. Raises InputError."""
    # It becomes part of a dialplan: a comma or a line break in it would become something else there.
    if not _ADDRESS.fullmatch(server):
        raise InputError(f"{server!r} is no address; write host:port, or [IPv6 address]:port")
    texts = []
    for name, where in PARTS[pbx].items():
        file = folder() / name
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise OstiaryError(f"{file}: {error.strerror}; is Ostiary installed completely?") from error
        texts.append(f"{_RULE}\n; {where}\n{_RULE}\n\n" + _SERVER.sub(rf"\g<1>{server}", text))
    return "\n".join(texts)


def folder() -> Path:
    """Return where the dialplan files are: inside an installed package, or beside it in a checkout."""
    package = Path(agi_server.__file__).parent
    installed = package / "dialplan_files"
    return installed if installed.is_dir() else package.parent / "dialplan"
