"""Small companies side by side on one Asterisk, so that conversations do not disturb each other.

Lane 10 has the phones 101, 102 and 103, lane 11 has 111 … 113; each phone has an address of its own,
127.0.0.<extension>, and what is outside (the trunk's far end) is 127.0.1.<lane>. Extension <lane>9 is a phone that
never registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FIRST = 10
# 127.0.0.253 is the last phone's address; what begins with 16 or 17 is dialled out by freepbx.conf
LANES = tuple(lane for lane in range(FIRST, 26) if lane not in {16, 17})
SEATS = (1, 2, 3)


def extension(lane: int, seat: int) -> str:
    """Return a phone's extension."""
    return f"{lane}{seat}"


def outside(lane: int) -> str:
    """Return the name of what a lane calls when it calls out, as the SIP harness knows it."""
    return f"outside{lane}"


def phones(ports: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Return the address and port of every phone and of each lane's world outside."""
    places = {outside(lane): (f"127.0.1.{lane}", ports["TRUNK"]) for lane in LANES}
    for lane in LANES:
        for seat in SEATS:
            place = (f"127.0.0.{lane}{seat}", ports[f"PHONE{FIRST}{seat}"])
            places[extension(lane, seat)] = place
    return places


def files(ports: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration of all lanes but the first's phones: file name → text."""
    sip, queues = [], []
    for lane in LANES:
        queues.append(
            f"[sales-{lane}]\nstrategy = ringall\nringinuse = no\ntimeout = 10\nretry = 1\n"
            f"member => PJSIP/{lane}1\nmember => PJSIP/{lane}2\n"
        )
        sip.append(_phone(f"{lane}9", "", ""))
        if lane != FIRST:
            sip += [
                _phone(f"{lane}{seat}", f"127.0.0.{lane}{seat}", ports[f"PHONE{FIRST}{seat}"])
                for seat in SEATS
            ]
    return {"lanes_pjsip.conf": "\n".join(sip), "lanes_queues.conf": "\n".join(queues)}


def _phone(extension: str, address: str, port: str) -> str:
    contact = f"contact = sip:{extension}@{address}:{port}\n" if address else "max_contacts = 1\n"
    lines = [f"[{extension}](party)", "context = from-internal", f"aors = {extension}"]
    lines += [f"callerid = Phone {extension} <{extension}>", f"[{extension}]", "type = aor"]
    text = "\n".join(lines) + "\n" + contact
    if address:
        text += f"[{extension}]\ntype = identify\nendpoint = {extension}\nmatch = {address}\n"
    return text


def every(lanes: Iterable[int]) -> list[str]:
    """Return the extensions of lanes."""
    return [extension(lane, seat) for lane in lanes for seat in SEATS]
