from agi_server.web.access import Scope
from tests.web.front import Front


async def test_what_may_be_done_to_a_path_is_told_whole(front: Front) -> None:
    client = await front.client(Scope.READ)
    for path, methods in (
        ("contacts/1", "GET, PATCH, DELETE"),
        ("blacklist", "GET, POST"),
        ("blacklist/1", "GET, PUT, DELETE"),
        ("blacklist/test", "POST"),
        ("callers/1", "GET, DELETE"),
    ):
        answer = await client.request("OPTIONS", f"/api/v1/{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_every_route_of_the_api_describes_its_problems(front: Front) -> None:
    description = (await (await front.client(Scope.READ)).get("/api/v1/openapi.json")).json()
    assert description["components"]["schemas"]["Problem"]["required"] == [
        "type",
        "title",
        "status",
        "detail",
    ]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/api/"):
                continue
            for status in ("401", "403", "422"):
                content = operation["responses"][status]["content"]
                assert [*content] == ["application/problem+json"], (method, path)
