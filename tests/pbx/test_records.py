"""Every conversation through a real Asterisk is on record once, and in Salesforce once, and both say what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk
from tests.pbx.company import company, take_place
from tests.pbx.expected import ON_RECORD, at_most, differences
from tests.pbx.sipp import Sipp

pytestmark = pytest.mark.slow


def test_every_conversation_is_on_record_once(
    asterisk: Asterisk, sipp: Sipp, ami: Ami, ports: dict[str, int], tmp_path: Path
) -> None:
    with company(tmp_path, asterisk, ports["AMI"]) as ours:
        took = take_place(ON_RECORD, sipp, ami)
        ours.settled(len(ON_RECORD) + 3, but="ended")  # and the three who forged
        (tmp_path / "heard.ami").write_bytes(ami.received)  # to see why, where something is wrong
        assert not differences(
            ours, {name: at_most(took[name], wanted) for name, wanted in ON_RECORD.items()}
        )
        ids = [str(row[0]) for row in ours.ostiary.rows("SELECT id FROM calls WHERE part_of = ''")]
        assert len(ids) == len(ON_RECORD) + 3
