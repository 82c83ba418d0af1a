from __future__ import annotations

from dataclasses import replace

import pytest

from agi_server.calls.call import Rung
from agi_server.calls.directory import Agent, Contact
from agi_server.calls.identify import Match, check_extensions, company_of, identify
from agi_server.calls.numbers import normalise
from agi_server.errors import InputError
from tests.calls.memory import MemoryDirectory, house

ANNA = Agent(id=1, name="Anna", extension="201")
CALLER = "+49301234567"


def ask(directory: MemoryDirectory, raw: str, region: str = "DE", presentation: int = 0) -> Match:
    number = normalise(raw, region, presentation=presentation)
    return identify(number, presentation, directory.house, directory)


def person(id: int, **changes: object) -> Contact:  # noqa: A002  # as in Contact
    return replace(Contact(id=id, name=f"Person {id}"), **changes)  # type: ignore[arg-type]


def test_exact() -> None:
    directory = MemoryDirectory()
    erika = directory.add(person(1), CALLER)
    match = ask(directory, "030 1234567")
    assert match[:1] + match[2:] == (Rung.EXACT, erika, erika, "", erika, False, None)


def test_nobody() -> None:
    match = ask(MemoryDirectory(), CALLER)
    assert (match.rung, match.contact, match.shown) == (Rung.NONE, None, None)


def test_anonymous_is_asked_nothing() -> None:
    directory = MemoryDirectory()
    directory.add(person(1), CALLER)
    assert ask(directory, "anonymous").rung is Rung.ANONYMOUS
    assert ask(directory, CALLER, presentation=32).rung is Rung.ANONYMOUS


@pytest.mark.parametrize("raw", ["201", "sip:201@pbx", "301", "40"])
def test_own_extension(raw: str) -> None:
    directory = MemoryDirectory(house(ANNA, own_extensions="3[0-9]{2}|4[0-9]"))
    match = ask(directory, raw)
    assert match.rung is Rung.EXTENSION
    assert match.agent is (ANNA if "201" in raw else None)


@pytest.mark.parametrize("raw", ["202", "3011", "1301", "+49301", "+301"])
def test_not_an_own_extension(raw: str) -> None:
    directory = MemoryDirectory(house(ANNA, own_extensions="3[0-9]{2}"))
    assert ask(directory, raw).rung is Rung.NONE


def test_an_extension_that_could_be_a_national_number_is_an_extension() -> None:
    directory = MemoryDirectory(house(own_extensions="[0-9]{8}"))
    directory.add(person(1), "+47 22334455")
    assert normalise("22334455", "NO").e164
    assert ask(directory, "22334455", "NO").rung is Rung.EXTENSION
    assert ask(directory, "+4722334455", "NO").rung is Rung.EXACT


def test_an_extension_of_letters() -> None:
    directory = MemoryDirectory(house(replace(ANNA, extension="anna")))
    assert ask(directory, "anna").rung is Rung.EXTENSION
    assert ask(directory, "anna", presentation=32).rung is Rung.ANONYMOUS
    assert ask(directory, "ben").rung is Rung.ANONYMOUS


def test_an_unreadable_pattern_of_extensions_matches_nothing() -> None:
    directory = MemoryDirectory(house(own_extensions="("))
    assert ask(directory, "301").rung is Rung.NONE
    check_extensions("[1-8][0-9]{2}")
    check_extensions("")
    with pytest.raises(InputError, match="RE2"):
        check_extensions("(")


def test_switchboard_shows_the_company() -> None:
    directory = MemoryDirectory()
    acme = directory.add(person(1, kind="Account", name="ACME"), "+49 30 1234-0")
    match = ask(directory, "+49301234567")
    assert (match.rung, match.contact, match.company) == (Rung.SWITCHBOARD, acme, "ACME")


@pytest.mark.parametrize(("account", "company"), [("ACME", "ACME"), ("", "Person 1")])
def test_a_person_behind_a_switchboard_shows_the_company(account: str, company: str) -> None:
    directory = MemoryDirectory()
    erika = directory.add(person(1, account=account, account_id=3), "+49 30 1234-0")
    match = ask(directory, "+493012345")
    assert (match.contact, match.owned, match.company) == (erika, erika, company)


def test_the_longest_main_number_that_covers_the_caller_wins() -> None:
    directory = MemoryDirectory()
    directory.add(person(1, kind="Account"), "+49 30 123-0")
    directory.add(person(2, kind="Account"), "+49 30 1234-0")
    directory.add(person(3, kind="Account"), "+49 30 123450")  # concluded: covers longer numbers only
    for caller, owner in (
        ("+493012346", 2),
        ("+493012345", 2),
        ("+4930123456", 2),  # as long as 123450 itself
        ("+49301234567", 3),
        ("+493012399", 1),
        ("+493012499", 0),
    ):
        contact = ask(directory, caller).contact
        assert (contact.id if contact else 0) == owner, caller


def test_at_most_so_many_digits_behind_a_main_number() -> None:
    directory = MemoryDirectory(house(switchboard_digits=2))
    directory.add(person(1), "+49 30 1234-0")
    assert ask(directory, "+493012345").rung is Rung.SWITCHBOARD
    assert ask(directory, "+4930123456").rung is Rung.SWITCHBOARD
    assert ask(directory, "+49301234567").rung is Rung.NONE
    directory.house = house(switchboard_digits=0)
    assert ask(directory, "+493012345").rung is Rung.NONE


def test_a_block_of_a_fixed_length_plan() -> None:
    directory = MemoryDirectory()
    directory.add(person(1), "+1 212 555 1XXX")
    assert ask(directory, "+12125551234").rung is Rung.SWITCHBOARD
    assert ask(directory, "+12125552234").rung is Rung.NONE


def test_tail_needs_a_side_without_a_country() -> None:
    directory = MemoryDirectory(house(tail_digits=7))
    local = directory.add(person(1), "555-2671", region="US")
    directory.add(person(2), "+1 415 777 1234")
    assert ask(directory, "+1 415 555 2671", "US").contact == local  # the stored one has none
    assert ask(directory, "7771234", "US").rung is Rung.TAIL  # the caller has none
    assert ask(directory, "+1 212 777 1234", "US").rung is Rung.NONE  # both have one, and differ
    assert ask(directory, "771234", "US").rung is Rung.NONE  # too short
    directory.house = house(tail_digits=0)
    assert ask(directory, "7771234", "US").rung is Rung.NONE
    directory.house = house(tail_digits=4)
    assert ask(directory, "7771234", "US").rung is Rung.NONE


def test_the_order_of_kinds() -> None:
    directory = MemoryDirectory()
    for id_, kind in enumerate(("Opportunity", "Lead", "Account", "Contact"), start=1):
        directory.add(person(id_, kind=kind), CALLER)
    found = ask(directory, CALLER).contact
    assert found is not None
    assert found.kind == "Contact"
    directory.house = house(kind_order=("Lead", "Contact"))
    found = ask(directory, CALLER).contact
    assert found is not None
    assert found.kind == "Lead"
    directory.house = house(kind_order=())
    assert ask(directory, CALLER).ambiguous


def test_the_same_contact_twice_is_one() -> None:
    directory = MemoryDirectory()
    erika = directory.add(person(1), CALLER)
    directory.add(person(1), CALLER)
    assert ask(directory, CALLER).contact == erika


def test_several_of_one_company() -> None:
    directory = MemoryDirectory()
    directory.add(person(1, account_id=3, account="ACME", owner_id=5, owner_email="a@example.com"), CALLER)
    directory.add(person(2, account_id=3, account="ACME", owner_id=6), CALLER)
    match = ask(directory, CALLER)
    assert (match.contact, match.company, match.owned, match.ambiguous) == (None, "ACME", None, False)


def test_several_of_one_company_and_one_owner() -> None:
    directory = MemoryDirectory()
    for id_ in (1, 2):
        directory.add(person(id_, account_id=3, account="ACME", owner_id=5), CALLER)
    match = ask(directory, CALLER)
    assert match.owned is not None
    assert (match.contact, match.company, match.owned.owner_id) == (None, "ACME", 5)


def test_several_of_one_owner() -> None:
    directory = MemoryDirectory()
    directory.add(person(1, owner_email="a@example.com", account_id=3, active_at=9), CALLER)
    directory.add(person(2, owner_email="a@example.com", account_id=4, active_at=5), CALLER)
    match = ask(directory, CALLER)
    assert match.owned is not None
    assert match.shown is not None
    assert (match.contact, match.ambiguous, match.owned.owner_email) == (None, False, "a@example.com")
    assert match.shown.id == 1


def test_several_with_nothing_in_common_are_ambiguous() -> None:
    directory = MemoryDirectory()
    for id_, active_at in ((1, 5), (2, 9), (3, 9)):
        directory.add(person(id_, owner_id=id_ // 2, active_at=active_at), CALLER)
    match = ask(directory, CALLER)
    assert match.shown is not None
    assert (match.contact, match.owned, match.ambiguous, match.shown.id) == (None, None, True, 2)
    assert match.step.outcome == "ambiguous"


def test_no_owner_in_common_is_no_owner() -> None:
    directory = MemoryDirectory()
    directory.add(person(1), CALLER)
    directory.add(person(2), CALLER)
    match = ask(directory, CALLER)
    assert match.owned is None
    assert match.ambiguous


def test_company_of() -> None:
    assert company_of(person(1, kind="Account", name="ACME", account="Parent")) == "ACME"
    assert company_of(person(1, account="ACME")) == "ACME"
    assert company_of(person(1)) == ""
