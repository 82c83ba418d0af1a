"""The stand-in for Salesforce, filled, as a process of its own: `python -m tests.bench.org CONTACTS ACCOUNTS`.

Its records were changed a week ago: an hour's worth of changes is what a round looks at, not the whole org. One
line of JSON says where it listens and by which numbers it can be called; it ends with its standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.org.people import Person, companies, persons
from tests.org.records import Org
from tests.org.server import running

OWNERS = 50
CALLERS = 5000  # numbers given out at most


def main(contacts: str, accounts: str) -> None:
    """Serve until the input ends."""
    age = timedelta(days=7)
    org = Org(now=lambda: datetime.now(UTC) - age)
    callers = fill(org, int(contacts), int(accounts))
    age = timedelta()
    with running(org) as server:
        print(json.dumps({"settings": server.settings(), "callers": callers}), flush=True)
        sys.stdin.read()


def fill(org: Org, contacts: int, accounts: int, *, owners: int = OWNERS) -> list[str]:
    """Make people and their companies; return numbers (E.164) of some of them, spread over all."""
    users = [org.create("User", _user(owner)) for owner in range(owners)]
    account_ids = org.load(
        "Account",
        (
            {"Name": name, "Phone": main.text, "OwnerId": users[place % owners]}
            for place, (name, main) in enumerate(companies(accounts))
        ),
    )
    callers: list[str] = []
    made = _noting(persons(contacts, accounts, owners), callers, max(contacts // CALLERS, 1))
    org.load("Contact", (_contact(person, account_ids, users) for person in made))
    return callers


def _noting(made: Iterable[Person], callers: list[str], every: int) -> Iterator[Person]:
    """Pass people on; of one in `every`, note the first number."""
    for place, person in enumerate(made):
        if place % every == 0:
            callers += next(
                (written.meaning[:1] for written in person.phones.values() if written.meaning), ()
            )
        yield person


def _contact(person: Person, account_ids: list[str], users: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {name: written.text for name, written in person.phones.items()}
    if person.company >= 0:
        row["AccountId"] = account_ids[person.company]
    names = {"FirstName": person.first, "LastName": person.last}
    return row | names | {"Email": person.email, "OwnerId": users[person.owner]}


def _user(owner: int) -> dict[str, Any]:
    email = f"agent{owner}@example.com"  # as data.write_agents has it
    return {"LastName": f"Agent {owner}", "Email": email, "Username": email, "Alias": f"a{owner}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
