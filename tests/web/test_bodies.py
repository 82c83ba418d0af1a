import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.types import Message

from agi_server.web.bodies import parse_body, read_body

SHAPE = TypeAdapter(list[int])


def request_of(*messages: Message) -> Request:
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def chunk(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_pieces_is_read() -> None:
    assert await read_body(request_of(chunk(b"ab"), chunk(b""), chunk(b"cd", more=False)), 4) == b"abcd"


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ((chunk(b"ab"), chunk(b"cde")), 413),  # and what may come behind is not waited for
        ((chunk(b"ab"), {"type": "http.disconnect"}), 400),
    ],
)
async def test_a_body_that_is_too_long_or_breaks_off(messages: tuple[Message, ...], status: int) -> None:
    with pytest.raises(HTTPException) as refused:
        await read_body(request_of(*messages), 4)
    assert refused.value.status_code == status


def test_a_body_is_taken_for_what_it_should_be() -> None:
    assert parse_body(SHAPE, b"[1, 2]") == [1, 2]


@pytest.mark.parametrize("body", [b"", b"[", b'[1, "x"]', b"{}", b"\xff"])
def test_mistakes_say_where_they_are_and_not_what_was_sent(body: bytes) -> None:
    with pytest.raises(RequestValidationError) as refused:
        parse_body(SHAPE, body)
    (error,) = refused.value.errors()
    assert error["loc"][0] == "body"
    assert "input" not in error
