"""The REST API of records: queries with cursors, single records, describe, searches, what was deleted or changed.

REST API Developer Guide, "Reference". What is not here is 404, a method that is not here 405: nothing is
answered by a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any

import orjson

from tests.org import batches
from tests.org.cursors import Cursors
from tests.org.errors import OrgError, missing
from tests.org.messages import Answer, Request, json_answer
from tests.org.records import Org

Row = dict[str, Any]
PAGE = (200, 2000)  # records of a page: least, most and default
_ADDRESS = re.compile(rb'("(?:url|sobject|describe|rowTemplate)":"/services/data/v)\d+\.0/')
CREATED_SINCE = 46.0  # from this version on an upsert that updates answers 200 with created: false


class Rest:
    """The org's records over HTTP; keeps the cursors of queries that are not read to their end."""

    def __init__(self, org: Org) -> None:
        self.cursors = Cursors()
        self._org = org

    def answer(self, request: Request, version: str, steps: list[str]) -> Answer:
        """Answer /services/data/v<version>/<steps>; OrgError as Salesforce refuses."""
        match request.method, steps:
            case "GET", []:
                return json_answer(200, _resources(version))
            case "GET", ["query" | "queryAll" as kind]:
                return self._query(request, version, deleted=kind == "queryAll")
            case "GET", ["query" | "queryAll", locator]:
                return self._more(request, version, locator)
            case "GET", ["search"]:
                found = self._org.search(_required(request.params, "q"))
                return _shaped(200, {"searchRecords": found}, version)
            case "GET", ["limits", "recordCount"]:
                return self._count(_required(request.params, "sObjects").split(","))
            case "GET", ["sobjects"]:
                return _shaped(200, self._org.describe_global(), version)
            case "POST", ["composite"]:
                return self._composite(request, version)
            case _, ["composite", "sobjects", *rest]:
                return batches.answer(self._org, request, rest)
            case _, ["sobjects", name, *rest]:
                return self._record(request, version, name, rest)
            case _:
                raise missing()

    def _record(self, request: Request, version: str, name: str, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", []:
                described = self._org.describe(name)
                return _shaped(200, {"objectDescribe": _first(described), "recentItems": []}, version)
            case "POST", []:
                record_id = self._org.create(
                    name, _fields(request), allow_save=batches.allows_duplicates(request)
                )
                return json_answer(201, {"id": record_id, "success": True, "errors": []})
            case "GET", ["describe"]:
                return _shaped(200, self._org.describe(name), version)
            case "GET", ["deleted" | "updated" as what]:
                start, end = (_moment(_required(request.params, key)) for key in ("start", "end"))
                found = (
                    self._org.deleted(name, start, end)
                    if what == "deleted"
                    else self._org.updated(name, start, end)
                )
                return json_answer(200, found)
            case "GET", [record_id]:
                return _shaped(200, _chosen(self._org.get(name, record_id), request), version)
            case "PATCH", [record_id]:
                self._org.update(name, record_id, _fields(request))
                return Answer(204)
            case "DELETE", [record_id]:
                self._org.delete(name, record_id)
                return Answer(204)
            case "GET", [field, value]:
                return self._by_external_id(request, version, name, (field, value))
            case "PATCH", [field, value]:
                return self._upsert(request, version, name, (field, value))
            case "POST" | "PATCH" | "DELETE" | "PUT", [] | ["describe" | "deleted" | "updated"] | [_, _]:
                raise OrgError(
                    "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.", status=405
                )
            case _:
                raise missing()

    def _query(self, request: Request, version: str, *, deleted: bool) -> Answer:
        soql = _required(request.params, "q")
        if re.match(r"\s*select\s+count\s*\(\s*\)", soql, re.IGNORECASE):
            return json_answer(
                200, {"totalSize": self._org.count(soql, deleted=deleted), "done": True, "records": []}
            )
        rows = iter(self._org.query(soql, deleted=deleted))
        size = _page_size(request)
        first = list(islice(rows, size + 1))
        if len(first) <= size:
            return _shaped(200, {"totalSize": len(first), "done": True, "records": first}, version)
        return self._page(self.cursors.keep(chain(first, rows)), 0, size, version)

    def _more(self, request: Request, version: str, locator: str) -> Answer:
        found = re.fullmatch(r"(01g\w{15})-(\d+)", locator)
        name, start = (found[1], int(found[2])) if found else ("", 0)
        return self._page(name, start, _page_size(request), version)

    def _page(self, name: str, start: int, size: int, version: str) -> Answer:
        page = self.cursors.page(name, start, size)
        if page is None:
            raise OrgError("INVALID_QUERY_LOCATOR", "invalid query locator")
        said: Row = {"totalSize": page.total, "done": start + size >= page.total}
        if not said["done"]:
            said["nextRecordsUrl"] = f"/services/data/v{version}/query/{name}-{start + size}"
        body = orjson.dumps(said)[:-1] + b',"records":[' + page.rows + b"]}"
        return Answer(200, _with_version(body, version))

    def _count(self, names: list[str]) -> Answer:
        counts = ({"count": self._org.count(f"SELECT COUNT() FROM {name}"), "name": name} for name in names)
        return json_answer(200, {"sObjects": [count for count in counts if count["count"]]})

    def _by_external_id(self, request: Request, version: str, name: str, key: tuple[str, str]) -> Answer:
        found = self._org.find(name, *key)
        if len(found) > 1:
            return _several(name, found, version)
        return _shaped(200, _chosen(self._org.get(name, found[0]), request), version)

    def _upsert(self, request: Request, version: str, name: str, key: tuple[str, str]) -> Answer:
        try:
            record_id, created = self._org.upsert(
                name, *key, _fields(request), allow_save=batches.allows_duplicates(request)
            )
        except OrgError as error:
            if error.status == 300:
                return _several(name, error.fields, version)
            raise
        if not created and float(version) < CREATED_SINCE:
            return Answer(204)
        said = {"id": record_id, "success": True, "errors": [], "created": created}
        return json_answer(201 if created else 200, said)

    def _composite(self, request: Request, version: str) -> Answer:
        """Answer POST composite: requests that do not refer to each other."""
        answers = []
        for part in request.json_object().get("compositeRequest", ()):
            target = str(part["url"])
            if "@{" in orjson.dumps(part).decode():
                raise OrgError("INVALID_INPUT", "the stand-in follows no references between requests")
            inner = Request(part["method"], target, request.headers, orjson.dumps(part.get("body", {})))
            answers.append(self._part(inner, version) | {"referenceId": part["referenceId"]})
        return json_answer(200, {"compositeResponse": answers})

    def _part(self, inner: Request, version: str) -> Row:
        try:
            answer = self.answer(inner, version, inner.steps[3:])
        except OrgError as error:
            said = [{"message": error.message, "errorCode": error.code}]
            return {"body": said, "httpHeaders": {}, "httpStatusCode": error.status}
        body = orjson.loads(answer.body) if answer.body else None
        return {"body": body, "httpHeaders": {}, "httpStatusCode": answer.status}


def _resources(version: str) -> dict[str, str]:
    names = ("composite", "jobs", "limits", "query", "queryAll", "search", "sobjects")
    return {name: f"/services/data/v{version}/{name}" for name in names}


def _shaped(status: int, value: object, version: str) -> Answer:
    """Make an answer whose addresses carry the version that was asked."""
    answer = json_answer(status, value)
    answer.body = _with_version(answer.body, version)
    return answer


def _with_version(body: bytes, version: str) -> bytes:
    return _ADDRESS.sub(rb"\g<1>%b/" % version.encode(), body)


def _several(name: str, ids: Sequence[str], version: str) -> Answer:
    return json_answer(300, [f"/services/data/v{version}/sobjects/{name}/{each}" for each in ids])


def _fields(request: Request) -> Row:
    return {name: value for name, value in request.json_object().items() if name != "attributes"}


def _chosen(record: Row, request: Request) -> Row:
    """Return the fields named in the parameter `fields`, or all."""
    if "fields" not in request.params:
        return record
    known = {name.lower(): name for name in record}
    chosen: Row = {"attributes": record["attributes"]}
    for name in request.params["fields"].split(","):
        if name.lower() not in known:
            raise OrgError(
                "INVALID_FIELD", f"No such column '{name}' on entity '{record['attributes']['type']}'."
            )
        chosen[known[name.lower()]] = record[known[name.lower()]]
    return chosen | {"Id": record["Id"]}


def _first(described: Mapping[str, Any]) -> Row:
    """Return of an object's describe what the shorter answer has: all that is no list."""
    return {name: value for name, value in described.items() if not isinstance(value, list)}


def _required(params: Mapping[str, str], name: str) -> str:
    if name not in params:
        raise OrgError("MALFORMED_QUERY", f"A query string has to be specified: {name}")
    return params[name]


def _page_size(request: Request) -> int:
    wanted = re.search(r"batchSize\s*=\s*(\d+)", request.header("Sforce-Query-Options"))
    least, most = PAGE
    return min(most, max(least, int(wanted[1]))) if wanted else most


def _moment(text: str) -> datetime:
    """Read a time with its offset; a + that came as a space is one."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise OrgError("INVALID_REPLICATION_DATE", f"invalid date: {text}") from error
    if moment.tzinfo is None:
        raise OrgError("INVALID_REPLICATION_DATE", f"a time needs an offset: {text}")
    return moment
