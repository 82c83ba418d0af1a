from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind, Treatment
from storage import flags
from storage.blacklist import add_rule, remove_rule
from storage.contact_rows import ContactRow, prepare
from storage.database import Database
from storage.merge import store
from storage.outbox import done, due, park
from storage.sync import become, forget
from tests.storage.conftest import NOW, Query

ANA, BEN, ACME = "003000000000001AAA", "003000000000002AAA", "001000000000001AAA"
ONE, TWO, THREE = "+493023125010", "+493023125011", "+493023125012"


@pytest.fixture
def exchange(database: Database, query: Query) -> Exchange:
    return Exchange(database, query)


class Exchange:
    """Both sides, in short."""

    def __init__(self, database: Database, query: Query) -> None:
        self.database = database
        self.query = query
        self.now = NOW

    async def store(self, people: Mapping[str, Sequence[str]]) -> None:
        rows = [
            ContactRow(
                salesforce_id=salesforce_id,
                kind="Account" if salesforce_id.startswith("001") else "Contact",
                name=salesforce_id,
                phones=tuple((f"Phone{place}", text) for place, text in enumerate(numbers)),
            )
            for salesforce_id, numbers in people.items()
        ]
        prepared = prepare(rows, "")
        await self.database.write(lambda conn: store(conn, prepared, source="salesforce", now=self.now))

    async def says(self, *, as_of: int | None = None, treatment: str = "hangup", **flagged: bool) -> int:
        """Salesforce says, by the names above."""
        said = {globals()[name.upper()]: value for name, value in flagged.items()}
        return await self.database.write(
            lambda conn: flags.apply(conn, said, now=self.now, as_of=as_of, treatment=treatment)
        )

    async def collect(self) -> int:
        made = 0
        for _ in range(1000):
            if await self.database.read(lambda conn: flags.settled(conn, now=self.now)):
                return made
            made += await self.database.write(lambda conn: flags.collect(conn, now=self.now))
        raise AssertionError("it never ends")

    async def block(self, number: str, **rest: object) -> None:
        rule = Rule(id=0, kind=RuleKind.EXACT, pattern=number, **rest)  # type: ignore[arg-type]
        await self.database.write(lambda conn: add_rule(conn, rule, who="cli:eva", now=self.now))

    async def unblock(self, number: str) -> None:
        async def job(conn: AsyncConnection) -> int:
            return await remove_rule(
                conn, kind=RuleKind.EXACT, pattern=number, did="", allow=False, who="cli:eva", now=self.now
            )

        assert await self.database.write(job) == 1

    async def deliver(self) -> list[tuple[str, bool]]:
        """Salesforce is told; return what."""
        rows = await self.database.read(lambda conn: due(conn, self.now, 100))
        told = [row.contact_id for row in rows if row.contact_id]
        await self.database.write(lambda conn: flags.sent(conn, told, now=self.now))
        await self.database.write(lambda conn: done(conn, [row.id for row in rows]))
        return [(row.payload["salesforce_id"], row.payload["value"]) for row in rows]

    def rules(self) -> dict[str, str]:
        """Return who made each rule, by number."""
        return dict(self.query("SELECT pattern, created_by FROM blacklist ORDER BY pattern"))

    def blacklisted(self) -> set[str]:
        return {row[0] for row in self.query("SELECT salesforce_id FROM contacts WHERE blacklisted")}

    def audited(self) -> list[tuple[str, str]]:
        return self.query("SELECT who, what FROM audit ORDER BY id")


async def test_a_flag_blocks_all_numbers_and_its_end_lets_them_in(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO], BEN: [THREE]})
    assert await exchange.says(ana=True, ben=False) == 1
    assert exchange.rules() == {ONE: "salesforce", TWO: "salesforce"}
    assert exchange.query(
        "SELECT DISTINCT kind, allow, did, treatment, reason, expires_at FROM blacklist"
    ) == [("exact", 0, "", "hangup", "blacklisted in Salesforce", 0)]
    assert exchange.blacklisted() == {ANA}
    assert await exchange.says(ana=True, ben=False) == 0  # the same again changes nothing
    assert exchange.audited() == [("salesforce", "blacklist.add")] * 2
    assert await exchange.says(ana=False) == 1
    assert (exchange.rules(), exchange.blacklisted()) == ({}, set())
    assert exchange.audited()[2:] == [("salesforce", "blacklist.remove")] * 2
    assert await exchange.collect() == 0  # none of it is a change of ours


async def test_treatment_and_numbers_without_country(exchange: Exchange) -> None:
    await exchange.store({ANA: ["4711 22"]})
    await exchange.says(ana=True, treatment="busy")
    assert exchange.query("SELECT pattern, treatment FROM blacklist") == [("471122", "busy")]
    await exchange.says(ana=False)
    assert exchange.rules() == {}


async def test_a_number_that_another_flagged_contact_has_stays_blocked(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO], BEN: [TWO]})
    await exchange.says(ana=True, ben=True)
    await exchange.says(ana=False, ben=True)
    assert exchange.rules() == {TWO: "salesforce"}
    await exchange.says(ben=False)
    assert exchange.rules() == {}


async def test_rules_that_are_there(exchange: Exchange) -> None:
    await exchange.block(ONE, reason="mine", treatment=Treatment.BUSY)
    await exchange.block(TWO, expires_at=NOW + 60)
    await exchange.block(THREE, did="4930")
    await exchange.store({ANA: [ONE, TWO, THREE]})
    await exchange.says(ana=True)
    columns = "pattern, did, reason, treatment, expires_at, created_by"
    assert exchange.query(f"SELECT {columns} FROM blacklist ORDER BY 1, 2") == [
        (ONE, "", "mine", "busy", 0, "cli:eva"),
        (TWO, "", "blacklisted in Salesforce", "hangup", 0, "salesforce"),  # else the flag would end with it
        (THREE, "", "blacklisted in Salesforce", "hangup", 0, "salesforce"),
        (THREE, "4930", "", "hangup", 0, "cli:eva"),
    ]  # fmt: skip
    await exchange.says(ana=False)
    assert exchange.query("SELECT pattern, did FROM blacklist") == [(THREE, "4930")]


async def test_rules_follow_the_numbers_of_a_flagged_contact(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO]})
    await exchange.says(ana=True)
    await exchange.store({ANA: [TWO, THREE]})
    assert await exchange.says(ana=True) == 1
    assert exchange.rules() == {TWO: "salesforce", THREE: "salesforce"}
    assert await exchange.collect() == 0


async def test_somebodys_own_rule_does_not_go_with_a_number(exchange: Exchange) -> None:
    await exchange.block(ONE)
    await exchange.store({ANA: [ONE]})
    await exchange.says(ana=True)
    await exchange.store({ANA: [TWO]})
    await exchange.says(ana=True)
    assert exchange.rules() == {ONE: "cli:eva", TWO: "salesforce"}


async def test_a_rule_that_somebody_removed_does_not_come_back(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO]})
    await exchange.says(ana=True)
    await exchange.unblock(ONE)
    assert await exchange.says(ana=True) == 0
    assert exchange.rules() == {TWO: "salesforce"}
    assert await exchange.collect() == 0  # another of her numbers is blocked still


async def test_a_rule_sets_the_flag_of_everyone_with_the_number(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO], ACME: [ONE], BEN: [THREE]})
    await exchange.block(ONE)
    assert await exchange.collect() == 2
    assert exchange.blacklisted() == {ANA, ACME}
    payloads = exchange.query("SELECT kind, payload, next_attempt_at FROM outbox ORDER BY contact_id")
    assert [(kind, json.loads(text), at) for kind, text, at in payloads] == [
        ("flag", {"salesforce_id": ANA, "kind": "Contact", "value": True}, NOW),
        ("flag", {"salesforce_id": ACME, "kind": "Account", "value": True}, NOW),
    ]
    assert exchange.audited()[-2:] == [("rules", "salesforce.flag")] * 2
    assert await exchange.collect() == 0
    # What Salesforce said before it was told does not count, however often.
    assert await exchange.says(ana=False, acme=False) == 0
    await exchange.deliver()
    assert await exchange.says(ana=True, acme=True) == 0
    assert exchange.rules() == {ONE: "cli:eva"}  # to block one number is not to block the others


@pytest.mark.parametrize(
    "rest", [{"did": "4930"}, {"allow": True}, {"expires_at": NOW - 1}], ids=lambda rest: next(iter(rest))
)
async def test_other_rules_set_no_flag(exchange: Exchange, rest: dict[str, object]) -> None:
    await exchange.store({ANA: [ONE]})
    await exchange.block(ONE, **rest)
    assert await exchange.collect() == 0


async def test_no_flag_without_a_salesforce_id_and_for_numbers_without_country(exchange: Exchange) -> None:
    await exchange.store({ANA: ["4711 22"], "": [ONE]})
    await exchange.block("471122")
    await exchange.block(ONE)
    assert await exchange.collect() == 1
    assert exchange.blacklisted() == {ANA}


async def test_without_a_rule_the_flag_goes(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE, TWO]})
    await exchange.says(ana=True)
    await exchange.collect()
    await exchange.unblock(ONE)
    assert await exchange.collect() == 0
    await exchange.unblock(TWO)
    assert await exchange.collect() == 1
    assert exchange.blacklisted() == set()
    assert await exchange.says(ana=True) == 0  # not told yet
    assert exchange.rules() == {}
    assert await exchange.deliver() == [(ANA, False)]
    assert await exchange.says(ana=False) == 0
    assert await exchange.says(ana=True) == 1  # somebody sets it anew
    assert exchange.rules() == {ONE: "salesforce", TWO: "salesforce"}


async def test_a_rule_that_expires_takes_the_flag_with_it(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE]})
    await exchange.block(ONE, expires_at=NOW + 60)
    await exchange.collect()
    assert await exchange.deliver() == [(ANA, True)]
    exchange.now = NOW + 59
    assert await exchange.collect() == 0
    exchange.now = NOW + 60
    assert await exchange.collect() == 1
    assert await exchange.deliver() == [(ANA, False)]
    assert await exchange.collect() == 0


async def test_what_was_asked_before_it_was_told_is_old(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE]})
    await exchange.block(ONE)
    await exchange.collect()
    exchange.now = NOW + 100
    await exchange.deliver()
    assert await exchange.says(ana=False, as_of=NOW + 50) == 0  # a job that began before
    assert exchange.rules() == {ONE: "cli:eva"}
    assert await exchange.says(ana=False, as_of=NOW + 101) == 1
    assert exchange.rules() == {}


async def test_a_change_outdates_what_waits(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE]})
    await exchange.block(ONE)
    await exchange.collect()
    ((row, *_),) = exchange.query("SELECT id FROM outbox")
    await exchange.database.write(lambda conn: park(conn, row, "no permission"))
    assert await exchange.says(ana=False) == 0  # what is parked has not been sent
    await exchange.unblock(ONE)
    assert await exchange.collect() == 1
    assert await exchange.deliver() == [(ANA, False)]


async def test_a_flag_that_contacts_share_with_a_number_is_not_passed_on(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE], BEN: [ONE]})
    await exchange.says(ana=True, ben=False)
    assert await exchange.collect() == 0


async def test_rules_stay_when_the_record_is_deleted_or_merged(exchange: Exchange) -> None:
    await exchange.store({ANA: [ONE], BEN: [TWO], ACME: [THREE]})
    await exchange.says(ana=True, ben=True)
    await exchange.database.write(lambda conn: forget(conn, [ANA]))
    await exchange.database.write(lambda conn: become(conn, [(BEN, ACME)]))
    assert await exchange.collect() == 0
    assert exchange.rules() == {ONE: "salesforce", TWO: "salesforce"}
    assert exchange.query("SELECT count(*) FROM flagged_numbers") == [(0,)]


async def test_any_number_of_rules_in_short_steps(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "PAGE", 7)
    people = {f"003{place:012d}AAA": [f"+4930231{place:05d}"] for place in range(50)}
    await exchange.store(people)
    for (number,) in people.values():
        await exchange.block(number)
    steps = 0
    while not await exchange.database.read(lambda conn: flags.settled(conn, now=NOW)):
        assert await exchange.database.write(lambda conn: flags.collect(conn, now=NOW)) <= 7
        steps += 1
        if steps == 3:
            await exchange.unblock("+493023100000")  # behind us: the next pass finds it
    assert steps > 50 // 7 * 2
    assert exchange.blacklisted() == set(people) - {"003000000000000AAA"}
    exchange.query("DELETE FROM blacklist")
    assert await exchange.collect() == 49
    assert exchange.blacklisted() == set()
