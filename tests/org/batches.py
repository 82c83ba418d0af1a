"""sObject Collections: up to 200 records a call, results in order, each row's errors in its own result.

REST API Developer Guide, "Using sObject Collections": mixed objects are written in chunks of one object, at most
ten; an error's code is called statusCode here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from tests.org.errors import OrgError, missing
from tests.org.ids import PREFIXES
from tests.org.messages import Answer, Request, json_answer
from tests.org.records import Org

Row = dict[str, Any]
MOST_ROWS = 200
MOST_CHUNKS = 10
_ROLLED_BACK = OrgError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)


class _RollBack(Exception):  # noqa: N818  # not an error
    pass


def allows_duplicates(request: Request) -> bool:
    """Return whether the header tells duplicate rules of the kind alert to let records pass."""
    header = request.header("Sforce-Duplicate-Rule-Header")
    return re.search(r"allowSave\s*=\s*true", header, re.IGNORECASE) is not None


def answer(org: Org, request: Request, rest: list[str]) -> Answer:
    """Answer composite/sobjects[/<object>/<external id field>]."""
    if request.method == "DELETE" and not rest:
        ids = request.params.get("ids", "").split(",")
        all_or_none = request.params.get("allOrNone", "").lower() == "true"
        return _write(org, ids, lambda record_id: _delete(org, record_id), all_or_none=all_or_none)
    body = request.json_object()
    records = body.get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise OrgError("JSON_PARSER_ERROR", "records: a list of objects is wanted")
    types = [str(record.get("attributes", {}).get("type", "")) for record in records]
    if "" in types:
        raise OrgError("INVALID_TYPE", "attributes.type: a record names no object")
    if sum(1 for _ in groupby(types)) > MOST_CHUNKS:
        raise OrgError("LIMIT_EXCEEDED", f"more than {MOST_CHUNKS} chunks of one object each")
    allow = allows_duplicates(request)
    writer: Callable[[Row], Row]
    match request.method, rest:
        case "POST", []:
            writer = lambda record: _create(org, record, allow)  # noqa: E731  # one of three
        case "PATCH", []:
            writer = lambda record: _update(org, record)  # noqa: E731
        case "PATCH", [name, field]:
            if {kind.lower() for kind in types} - {name.lower()}:
                raise OrgError("INVALID_TYPE", f"all records must be of {name}")
            writer = lambda record: _upsert(org, record, field, allow)  # noqa: E731
        case _:
            raise missing()
    return _write(org, records, writer, all_or_none=body.get("allOrNone") is True)


def _write(org: Org, rows: Sequence[Any], writer: Callable[[Any], Row], *, all_or_none: bool) -> Answer:
    if len(rows) > MOST_ROWS:
        raise OrgError(
            "EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {MOST_ROWS} records"
        )
    if not all_or_none:
        return json_answer(200, [_attempt(writer, row) for row in rows])
    results: list[Row] = []
    try:
        with org.transaction():
            results += [_attempt(writer, row) for row in rows]
            _check_all(results)
    except _RollBack:
        results = [_failure(_ROLLED_BACK) if result["success"] else result for result in results]
    return json_answer(200, results)


def _check_all(results: Sequence[Row]) -> None:
    if not all(result["success"] for result in results):
        raise _RollBack


def _attempt(writer: Callable[[Any], Row], row: Any) -> Row:
    try:
        return writer(row)
    except OrgError as error:
        record_id = row if isinstance(row, str) else row.get("id")
        return ({"id": record_id} if record_id else {}) | _failure(error)


def _failure(error: OrgError) -> Row:
    said = {"statusCode": error.code, "message": error.message, "fields": list(error.fields)}
    return {"success": False, "errors": [said]}


def _create(org: Org, record: Row, allow: bool) -> Row:
    sobject, fields = _split(record)
    return {"id": org.create(sobject, fields, allow_save=allow), "success": True, "errors": []}


def _update(org: Org, record: Row) -> Row:
    sobject, fields = _split(record)
    record_id = str(fields.pop("id", None) or fields.pop("Id", None) or "")
    org.update(sobject, record_id, fields)
    return {"id": record_id, "success": True, "errors": []}


def _upsert(org: Org, record: Row, field: str, allow: bool) -> Row:
    sobject, fields = _split(record)
    key = next((name for name in fields if name.lower() == field.lower()), field)
    value = fields.pop(key, None)
    if not value and field.lower() == "id":
        return _create(org, {"attributes": {"type": sobject}, **fields}, allow) | {"created": True}
    record_id, created = org.upsert(sobject, field, "" if value is None else value, fields, allow_save=allow)
    return {"id": record_id, "success": True, "errors": [], "created": created}


def _delete(org: Org, record_id: str) -> Row:
    sobject = next((name for name, prefix in PREFIXES.items() if record_id.startswith(prefix)), "")
    if not sobject:
        raise OrgError("MALFORMED_ID", f"malformed id {record_id}")
    org.delete(sobject, record_id)
    return {"id": record_id, "success": True, "errors": []}


def _split(record: Row) -> tuple[str, Row]:
    fields = {name: value for name, value in record.items() if name != "attributes"}
    return str(record["attributes"]["type"]), fields
