"""A contact of Salesforce calls: the phone of the owner shows the name that the org has."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.org.records import Org
from tests.org.server import running
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.places import DID
from tests.pbx.sipp import Sipp

NUMBER = "03023125010"


def test_a_synchronised_contact_calls(asterisk: Asterisk, sipp: Sipp, tmp_path: Path) -> None:
    with closing(Org()) as org:
        owner = org.create(
            "User",
            {
                "LastName": "Anna",
                "Email": "anna@example.com",
                "Username": "anna@example.com",
                "Alias": "anna",
            },
        )
        contact = org.create(
            "Contact", {"FirstName": "Ana", "LastName": "Muñoz", "Phone": "(030) 23125-010", "OwnerId": owner}
        )
        with running(org) as server:
            settings = {
                f"OSTIARY_SALESFORCE__{key.upper()}": str(value) for key, value in server.settings().items()
            }
            ostiary = Ostiary(tmp_path, OSTIARY_SALESFORCE__SYNC_INTERVAL="5", **settings)
            ostiary.run("sync")
            ostiary.load("agents", "Name,Email,Extension\nAnna,Anna@example.com,101\n")
            ostiary.start()
            try:
                asterisk.set_global("OSTIARY_SERVER", ostiary.address)
                phone = sipp.phone("101")
                assert sipp.call(DID, number=NUMBER, hold=0.2).status() == 200
                assert phone.invite().display_name() == "Ana Muñoz"

                org.update("Contact", contact, {"LastName": "Muñoz-Weber"})
                ostiary.run("sync")
                phone = sipp.phone("101")
                assert sipp.call(DID, number=NUMBER, hold=0.2).status() == 200
                assert phone.invite().display_name() == "Ana Muñoz-Weber"
            finally:
                ostiary.stop()
