"""Callers whom the directory does not know, looked up in Salesforce: the worker's side.

Invariant: one search a question, AT_ONCE questions at once, and none while Salesforce does not answer in time (see
breaker.py) or the day's share of API calls is used. What is found is committed before it is said to be found, and
an answer that comes too late for its call is stored all the same. Only records that really hold the number are
stored: a search compares digits, whatever the country.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import phonenumbers
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError, SalesforceError, SalesforceRefusal
from agi_server.salesforce.breaker import Breaker
from agi_server.salesforce.fields import Reading, plan, types_of
from agi_server.salesforce.mapping import Record, is_true, mapper
from agi_server.settings import Settings
from storage import flags, sync
from storage.contact_rows import ContactRow, Prepared, prepare
from storage.contacts import store
from storage.database import Database

if TYPE_CHECKING:
    from agi_server.salesforce.client import Client

AT_ONCE = 3  # threads of the worker; the synchronisation needs some, too
PATIENCE = 5.0  # seconds until a search is given up; long after its call went on
SHORTEST = 7  # digits; fewer fit too many people
MOST = 20  # records of one kind; who shares a number with more is ambiguous anyway

log = structlog.get_logger()


class Answer(NamedTuple):
    """`outcome`: found, unknown, failed or not_asked; `why` explains the last two and holds no personal data."""

    outcome: str
    why: str = ""


class Lookup:
    """Answers questions about numbers; on the worker's event loop."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prepare` comes first."""
        self._database = database
        self._client = client
        self._settings = settings
        self._clock = clock
        self._breaker = Breaker(clock)
        self._readings: dict[str, Reading] | None = None  # what to ask for; None: not known
        self._asking = 0

    async def prepare(self) -> None:
        """Learn which fields there are, unless that is known; objects that are refused us are left out.

        Raises SalesforceDown, SalesforceLoginError, SalesforceLimitError.
        """
        if self._readings is not None:
            return
        settings = self._settings.salesforce
        readings: dict[str, Reading] = {}
        names = "Account" not in settings.objects or "Account" in settings.filters
        for sobject in settings.objects:
            try:
                found = await asyncio.to_thread(self._client.describe, sobject)
            except SalesforceRefusal:  # the synchronisation says so
                continue
            if found is None:
                continue
            reading = plan(sobject, types_of(found), settings, account_names=names)
            if reading.phones:
                readings[sobject] = reading
        self._readings = readings

    def closed(self) -> str:
        """Return why nothing is asked just now; empty: it is."""
        if self._readings is None:
            return "the worker has not reached Salesforce yet"
        if not self._readings:
            return "no object of Salesforce has a field with numbers that we may read"
        if self._breaker.wait():
            return "Salesforce did not answer look-ups in time; they are left out for a while"
        usage = self._client.usage
        if usage is not None and usage.used >= usage.total * self._settings.salesforce.lookup_share:
            return "the share of API calls that look-ups may use is used (salesforce.lookup_share)"
        return ""

    def opens_in(self) -> float:
        """Return the seconds after which `closed` is to be asked again; 0: no time is set."""
        return self._breaker.wait()

    async def find(self, number: str) -> Answer:
        """Look up a number, `+…`; never raises."""
        if (why := self.closed()) or self._readings is None:
            return Answer("not_asked", why)
        if self._asking >= (1 if self._breaker.tripped else AT_ONCE):
            return Answer("not_asked", "too many look-ups at once")
        readings = self._readings
        sosl = search_for(number, list(readings.values()))
        if not sosl:
            return Answer("not_asked", f"a number of less than {SHORTEST} digits")
        self._asking += 1
        try:
            return await self._find(number, sosl, readings)
        except SalesforceRefusal as error:  # its text may quote the search, and so the number
            self._breaker.failed()
            self._readings = None  # a field may be gone
            return Answer("failed", f"Salesforce refused the search: {error.code}")
        except (SalesforceError, DirectoryError) as error:
            self._breaker.failed()
            return Answer("failed", str(error))
        except Exception as error:  # whatever it is, the worker's other work goes on
            self._breaker.failed()
            log.exception("a look-up failed")
            return Answer("failed", type(error).__name__)
        finally:
            self._asking -= 1

    async def _find(self, number: str, sosl: str, readings: Mapping[str, Reading]) -> Answer:
        started, asked = self._clock(), int(time.time())
        records = await asyncio.to_thread(self._client.search, sosl, deadline=PATIENCE)
        if self._clock() - started <= self._settings.salesforce.lookup_deadline:
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        held, blacklisted = _holders(records, readings, int(number[1:]), self._settings.numbers.region)
        if not held.rows:
            return Answer("unknown")
        await self._database.write(lambda connection: self._store(connection, held, blacklisted, asked))
        return Answer("found")

    async def _store(
        self, connection: AsyncConnection, held: Prepared, blacklisted: dict[str, bool], asked: int
    ) -> None:
        now = int(time.time())
        await store(connection, held, source="salesforce", now=now)
        # A full synchronisation that began before the record was made does not meet it.
        await sync.mark_seen(connection, [row.salesforce_id for row in held.rows])
        if blacklisted:
            await flags.apply(connection, blacklisted, now=now, as_of=asked)


def _holders(
    records: Sequence[Record], readings: Mapping[str, Reading], e164: int, region: str
) -> tuple[Prepared, dict[str, bool]]:
    """Return those of the records that hold the number, and the blacklist flags of those that have one."""
    rows: list[ContactRow] = []
    flagged: dict[str, bool] = {}
    for record in records:
        reading = readings[record["attributes"]["type"]]
        if reading.sobject == "Contact" and is_true(record.get(reading.person)):
            continue  # comes with its Account
        row = mapper(reading)(record)
        rows.append(row)
        if reading.blacklist:
            flagged[row.salesforce_id] = is_true(record.get(reading.blacklist))
    prepared = prepare(rows, region)
    held = [at for at, phones in enumerate(prepared.phones) if e164 in phones.numbers]
    holders = Prepared([rows[at] for at in held], [prepared.phones[at] for at in held], [])
    ids = {row.salesforce_id for row in holders.rows}
    return holders, {id_: flag for id_, flag in flagged.items() if id_ in ids}


def search_for(number: str, readings: Sequence[Reading]) -> str:
    """Return SOSL that finds an E.164 number, `+…`, in the forms people store; '' for one that is too short.

    Digits only, so nothing needs escaping. Salesforce Object Search Language, "FIND {SearchQuery}", "IN
    SearchGroup" and "RETURNING FieldSpec".
    """
    if len(number.removeprefix("+")) < SHORTEST or not readings:
        return ""
    forms = dict.fromkeys(form for form in _forms(number) if len(form) >= SHORTEST)
    returning = ", ".join(map(_returning, readings))
    return f"FIND {{{' OR '.join(forms)}}} IN PHONE FIELDS RETURNING {returning}"


def _forms(number: str) -> Iterator[str]:
    """Yield the digits of a number as people write them: with its country, and as dialled within it."""
    digits = number.removeprefix("+")
    yield digits
    yield f"00{digits}"
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return
    yield phonenumbers.national_significant_number(parsed)
    national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    yield "".join(filter(str.isdigit, national))


def _returning(reading: Reading) -> str:
    conditions = [f"({reading.condition})"] if reading.condition else []
    if reading.converted:
        conditions.append(f"{reading.converted} = false")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"{reading.sobject}({', '.join(reading.columns)}{where} LIMIT {MOST})"
