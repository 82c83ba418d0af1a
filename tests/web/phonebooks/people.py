"""People for phone books, put into a front's database."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import BytesIO, StringIO

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.exchange import ContactFile, import_contacts
from tests.web.front import Front


async def add(front: Front, *rows: Mapping[str, str]) -> None:
    """Import contacts; the keys are the headings of `ostiary import contacts`."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    file = StringIO()
    writer = csv.DictWriter(file, headings)
    writer.writeheader()
    writer.writerows(rows)
    content = BytesIO(file.getvalue().encode())
    await import_contacts(ContactFile(file=content), database=front.database, region="DE")


async def add_many(front: Front, count: int, name: str = "Person {}") -> list[str]:
    """Import people called by number, with one to three numbers each; return all their numbers."""
    rows = []
    numbers: list[str] = []
    for index in range(count):
        phones = {
            label: f"+49301{index:05}{place}"
            for place, label in zip("123", ("Phone", "MobilePhone", "HomePhone"), strict=True)
            if int(place) <= 1 + index % 3
        }
        rows.append({"Name": name.format(index), "Phone": "", "MobilePhone": "", "HomePhone": ""} | phones)
        numbers += phones.values()
    await add(front, *rows)
    return numbers


async def change(front: Front, statement: str, *values: object) -> None:
    """Run SQL past all of the code under test."""

    async def job(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql(statement, values)

    await front.database.write(job)
