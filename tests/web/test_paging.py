import httpx
import pytest
from fastapi import FastAPI

from agi_server.web.paging import Listed, Paging, listed

APP = FastAPI()


@APP.get("/things")
async def things(page: Paging) -> Listed[int]:
    start = int(page.after or 0)
    last = start + page.limit
    return listed([*range(start, min(last, 250))], str(last) if last < 250 else "")


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://x")


async def test_every_item_comes_once_whatever_the_pages_size() -> None:
    async with client() as asked:
        for limit in (1, 7, 50, 125, 200):
            found: list[int] = []
            cursor: str | None = ""
            while cursor is not None:
                page = (await asked.get("/things", params={"limit": limit, "cursor": cursor})).json()
                assert len(page["items"]) <= limit
                found += page["items"]
                cursor = page["next"]
            assert found == [*range(250)]


async def test_fifty_where_nothing_is_said() -> None:
    async with client() as asked:
        assert len((await asked.get("/things")).json()["items"]) == 50


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=-1", "limit=x", f"cursor={'1' * 401}"])
async def test_what_no_page_can_be_is_refused(query: str) -> None:
    async with client() as asked:
        assert (await asked.get(f"/things?{query}")).status_code == 422
