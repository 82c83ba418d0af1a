from __future__ import annotations

import pytest

from tests.web.front import Front
from tests.web.phonebooks.forms import GRANDSTREAM, read, texts
from tests.web.phonebooks.people import add, change
from tests.web.phonebooks.walking import HOSTILE, phone


@pytest.mark.parametrize("file", ["phonebook.xml", "gs_phonebook.xml"])
async def test_the_file_has_everyone_with_their_numbers(front: Front, file: str) -> None:
    await add(
        front,
        {
            "FirstName": "Tri",
            "LastName": "Phon",
            "Phone": "+49301555010",
            "MobilePhone": "+491701555010",
            "HomePhone": "+49302555010",
        },
    )
    root = read(await (await phone(front)).get(f"/phonebooks/grandstream/{file}"), GRANDSTREAM)
    assert texts(root, "id") == ["1", "2", "3", "4", "5"]
    assert texts(root, "FirstName") == ["", "", "", "Ana", "Tri"]
    assert texts(root, "LastName") == ["Ana's agent", "Reception", "Acme", "Muñoz", "Phon"]
    last = root.findall("Contact")[-1]
    phones = [(each.attrib["type"], each.findtext("phonenumber")) for each in last.findall("Phone")]
    assert phones == [("Work", "+49301555010"), ("Mobile", "+491701555010"), ("Home", "+49302555010")]
    assert set(texts(root, "accountindex")) == {"1"}


async def test_names_are_text(front: Front) -> None:
    for name in HOSTILE:
        await add(front, {"Name": "x", "Phone": "+49301555010"})
        await change(front, "UPDATE contacts SET name = ?, first_name = ? WHERE name = 'x'", name, name)
    for charset in ("utf-8", "latin-1", "ascii"):
        response = await (await phone(front)).get(f"/phonebooks/grandstream/phonebook.xml?charset={charset}")
        root = read(response, GRANDSTREAM)
        assert "<script>alert(1)</script>" in texts(root, "FirstName")
        assert len(root.findall("Contact")) == 4 + len(HOSTILE)
