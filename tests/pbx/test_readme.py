"""The README's first call, step by step, with the files and lines that stand there."""

import re
from pathlib import Path

from tests.pbx.asterisk import CONFIG, Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.places import DID, OWN_PLAN
from tests.pbx.sipp import Sipp

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def file_of(name: str) -> str:
    """Return the text that the README writes into a file with `cat > name <<'CSV'`."""
    found = re.search(rf"cat > {re.escape(name)} <<'CSV'\n(.*?)CSV\n", README, re.DOTALL)
    assert found, name
    return found[1]


def test_the_first_call(asterisk: Asterisk, sipp: Sipp, tmp_path: Path) -> None:
    ostiary = Ostiary(tmp_path)
    ostiary.load("contacts", file_of("contacts.csv"))
    ostiary.load("agents", file_of("agents.csv"))
    ostiary.start()
    try:
        assert "Ana Muñoz" in ostiary.run("ask", "03023125010")
        asterisk.set_global("OSTIARY_SERVER", ostiary.address)

        phone = sipp.phone("101")
        assert sipp.call(DID, number="03023125010", hold=0.2).status() == 200
        assert phone.invite().display_name() == "Ana Muñoz"

        ostiary.run("blacklist", "add", "03023125010", "--treatment", "busy")
        assert sipp.call(DID, number="03023125010").status() == 486
    finally:
        ostiary.stop()
    assert sipp.call(DID, number="03023125010").status() == OWN_PLAN


def test_the_lines_to_paste_are_those_that_are_tested() -> None:
    plan = (CONFIG / "extensions.conf").read_text(encoding="utf-8")
    asked = "exten => _[+0-9].,1,Gosub(ostiary-incoming,s,1)\n same => n,Goto("
    assert asked in plan
    assert asked in README


def test_what_ostiary_prints_is_what_is_tested(tmp_path: Path) -> None:
    printed = Ostiary(tmp_path).run("dialplan", "asterisk")
    shipped = (ROOT / "dialplan/asterisk/ostiary.conf").read_text(encoding="utf-8")
    instructions = [
        line for line in shipped.splitlines() if line and not line.startswith(("OSTIARY_SERVER", ";"))
    ]
    assert [line for line in instructions if line not in printed] == []
