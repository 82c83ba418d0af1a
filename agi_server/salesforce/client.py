"""Salesforce's REST and Bulk 2.0 APIs as a few blocking calls; safe in threads.

simple-salesforce makes the requests, over the session of `transport`, which holds the token: what simple-salesforce
is given as session and instance are placeholders. Importing this module costs some 35 MiB; the serving process
must not.

Every call raises SalesforceDown, SalesforceLoginError, SalesforceLimitError or SalesforceRefusal, and nothing else.
Sources: REST API Developer Guide ("Query", "QueryAll", "Get Deleted", "sObject Collections", "Search"); Bulk API 2.0
and Bulk API Developer Guide ("Query Jobs in Bulk API 2.0", "Get Results for a Query Job").
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote

import requests
from simple_salesforce.api import Salesforce as SimpleSalesforce
from simple_salesforce.exceptions import SalesforceError as SimpleSalesforceError

from agi_server.errors import SalesforceDown, SalesforceError, SalesforceLoginError, SalesforceRefusal
from agi_server.salesforce import shapes
from agi_server.salesforce.answers import refusal
from agi_server.salesforce.login import Login
from agi_server.salesforce.network import left
from agi_server.salesforce.pages import Results, open_page
from agi_server.salesforce.shapes import Deleted, Job, RowResult
from agi_server.salesforce.transport import HOST, Meter, Usage, open_session

if TYPE_CHECKING:
    from agi_server.settings import Salesforce

__all__ = ["MOST_RECORDS", "Client", "Deleted", "Job", "RowResult"]

T = TypeVar("T")
Record = dict[str, Any]

LONGEST_QUERY = 8000  # characters; address and headers together may have 16,384 bytes
MOST_RECORDS = 200  # of a collection (REST API Developer Guide, "sObject Collections")


class Client:
    """The org of the settings. Nothing is sent before the first call."""

    def __init__(self, settings: Salesforce, state_directory: Path) -> None:
        self._settings = settings
        self._meter = Meter()
        self._login = Login(settings, state_directory)
        self._session = open_session(settings, self._login, usage=self._meter)
        self._api = SimpleSalesforce(
            session_id="-",  # the transport knows the token
            instance=HOST,
            version=settings.api_version,
            session=self._session,
            object_pairs_hook=dict,
        )
        self._headers: dict[str, list[str]] = {}  # of results, by job

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usage(self) -> Usage | None:
        """API calls of the org in 24 hours, as the last answer said; None before the first that did."""
        return self._meter.usage

    @property
    def calls(self) -> int:
        """API calls made by this client; log-ins are none."""
        return self._meter.calls

    def server_time(self) -> datetime:
        """Return Salesforce's clock (UTC, whole seconds) at its last answer; asks for one if there was none."""
        if self._meter.served is None:
            self._get("", "the time")
        if self._meter.served is None:
            raise SalesforceDown("Salesforce's answers have no header Date; does a proxy take it away?")
        return self._meter.served.astimezone(UTC)

    def user_id(self) -> str:
        """Return the id of the user we are signed in as; '' where the log-in does not say."""
        return self._login.token().user_id

    def org_id(self) -> str:
        """Return the id of the org, of 15 characters; '' where the log-in does not say."""
        return self._login.token().org_id

    def instance(self) -> str:
        """Return scheme and host of the org's instance."""
        return self._login.token().instance_url

    # reading

    def describe(self, sobject: str) -> Mapping[str, Any] | None:
        """Return the object's description; None when there is no such object for this user."""
        try:
            found = self._get(f"sobjects/{_part(sobject)}/describe/", f"the description of {sobject}")
        except SalesforceRefusal as error:
            if error.code in {"NOT_FOUND", "INVALID_TYPE"}:
                return None
            raise
        return shapes.mapping(found)

    def query(
        self, soql: str, *, deleted: bool = False, deadline: float | None = None
    ) -> Iterator[list[Record]]:
        """Yield the pages of a query; `deleted`: with what is in the recycle bin (queryAll).

        `deadline` (seconds from now) is for all pages together.
        """
        return self._pages(soql, deleted, None if deadline is None else time.monotonic() + deadline)

    def _pages(self, soql: str, deleted: bool, end: float | None) -> Iterator[list[Record]]:
        headers = {"Sforce-Query-Options": f"batchSize={self._settings.page_size}"}
        resource = "queryAll" if deleted else "query"
        if len(quote(soql)) > LONGEST_QUERY:
            page = self._long_query(resource, soql, end)
        else:
            page = shapes.mapping(
                self._get(f"{resource}/", "the query", {"q": soql}, headers=headers, **_timeout(end))
            )
        while True:
            records, more = page.get("records"), page.get("nextRecordsUrl")
            if not isinstance(records, list) or (not page.get("done") and not isinstance(more, str)):
                raise SalesforceDown("the query: the answer is not what a query is answered with")
            yield records
            if page.get("done"):
                return
            page = shapes.mapping(
                self._ask(
                    "the query",
                    lambda more=more: self._api.query_more(  # type: ignore[misc]
                        more, identifier_is_url=True, headers=headers, **_timeout(end)
                    ),
                )
            )

    def _long_query(self, resource: str, soql: str, end: float | None) -> Mapping[str, Any]:
        """Return the first page of a query that is too long for an address (Salesforce Help, article 000386264)."""
        path = f"/services/data/v{self._settings.api_version}/{resource}?q={quote(soql)}"
        body = {"compositeRequest": [{"method": "GET", "url": path, "referenceId": "page"}]}
        said = self._request("POST", "composite", "the query", data=json.dumps(body), **_timeout(end))
        try:
            (part,) = shapes.mapping(said)["compositeResponse"]
            status, page = int(part["httpStatusCode"]), part["body"]
        except (KeyError, TypeError, ValueError):
            raise SalesforceDown(
                "the query: the answer is not what a composite request is answered with"
            ) from None
        if status >= 300:
            raise refusal(status, page, "the query")
        return shapes.mapping(page)

    def count(self, soql: str) -> int:
        """Return the number that `SELECT COUNT() FROM …` gives."""
        total = shapes.mapping(self._get("query/", "the count", {"q": soql})).get("totalSize")
        if not isinstance(total, int):
            raise SalesforceDown("the count: the answer holds no totalSize")
        return total

    def deleted(self, sobject: str, start: datetime, end: datetime) -> Deleted:
        """Return what was deleted between two times (with a time zone; at most 15 days back)."""
        params = {"start": shapes.stamp(start), "end": shapes.stamp(end)}
        path = f"sobjects/{_part(sobject)}/deleted/"
        return shapes.deleted(self._get(path, f"what was deleted of {sobject}", params))

    def search(self, sosl: str, *, deadline: float | None = None) -> list[Record]:
        """Return the records that a SOSL search finds."""
        end = None if deadline is None else time.monotonic() + deadline
        said = self._get("search/", "the search", {"q": sosl}, **_timeout(end))
        found = said.get("searchRecords") if isinstance(said, Mapping) else said
        if found is None:
            return []
        if not isinstance(found, list):
            raise SalesforceDown("the search: the answer is not what a search is answered with")
        return found

    # Bulk 2.0

    def start_job(self, soql: str) -> str:
        """Start a query job and return its id.

        Raises SalesforceRefusal also when the user may not use the Bulk API: REST may work nevertheless.
        """
        body = json.dumps({"operation": "query", "query": soql})
        try:
            said = shapes.mapping(self._request("POST", "jobs/query", "the Bulk query", data=body))
        except SalesforceLoginError as error:
            if error.code == "API_DISABLED_FOR_ORG":
                raise SalesforceRefusal(str(error), error.code) from None
            raise
        if not said.get("id"):
            raise SalesforceDown("the Bulk query: the answer has no id")
        return str(said["id"])

    def job(self, job_id: str) -> Job:
        """Return how far a query job is."""
        return shapes.job(self._get(f"jobs/query/{_part(job_id)}", "the Bulk query"))

    def abort_job(self, job_id: str) -> None:
        """Stop a query job."""
        body = json.dumps({"state": "Aborted"})
        self._request("PATCH", f"jobs/query/{_part(job_id)}", "the end of the Bulk query", data=body)

    @contextmanager
    def results(self, job_id: str, locator: str, most: int) -> Iterator[Results]:
        """Give a page of a job's results as it comes in, `most` records at most; `locator`: '' for the first page.

        Its rows raise SalesforceDown after the last that came when the page is cut or shorter than announced.
        """
        params: dict[str, str | int] = {"maxRecords": most} | ({"locator": locator} if locator else {})
        with self._page(job_id, params) as response:
            yield open_page(response, lambda: self._names(job_id))

    @contextmanager
    def _page(self, job_id: str, params: Mapping[str, str | int]) -> Iterator[requests.Response]:
        url = f"{self._api.base_url}jobs/query/{_part(job_id)}/results"
        headers = {"Accept": "text/csv"}
        response = self._ask(
            "the results of the Bulk query",
            lambda: self._session.get(url, params=params, headers=headers, stream=True),
        )
        with response:
            if response.status_code != 200:
                raise refusal(response.status_code, _content(response), "the results of the Bulk query")
            yield response

    def _names(self, job_id: str) -> list[str]:
        """Return the column names of a job's results, asked for once."""
        if job_id not in self._headers:
            with self._page(job_id, {"maxRecords": 1}) as response:
                self._headers[job_id] = open_page(response, list).names
        return self._headers[job_id]

    # writing

    def write(
        self,
        method: Literal["POST", "PATCH"],
        sobject: str,
        records: Sequence[Mapping[str, Any]],
        external_id: str = "",
    ) -> list[RowResult]:
        """Create (POST), update by Id (PATCH) or upsert by `external_id` (PATCH) up to 200 records in one call.

        Each has a result of its own, in order. After SalesforceDown they may have been written or not.
        """
        if not 0 < len(records) <= MOST_RECORDS:
            raise ValueError(f"1 to {MOST_RECORDS} records a call, not {len(records)}")
        path = "composite/sobjects"
        if external_id:
            path += f"/{_part(sobject)}/{_part(external_id)}"
        rows = [{"attributes": {"type": sobject}, **record} for record in records]
        allow = str(self._settings.allow_duplicates).lower()
        said = self._request(
            method,
            path,
            f"the writing of {sobject}",
            data=json.dumps({"allOrNone": False, "records": rows}),
            headers={"Sforce-Duplicate-Rule-Header": f"allowSave={allow}"},
        )
        return shapes.row_results(said, len(records))

    # how

    def _get(
        self,
        path: str,
        what: str,
        params: dict[str, Any] | None = None,
        **options: Any,  # noqa: ANN401  # of requests
    ) -> object:
        return self._request("GET", path, what, params=params, **options)

    def _request(self, method: str, path: str, what: str, **options: Any) -> object:  # noqa: ANN401  # of requests
        return self._ask(what, lambda: self._api.restful(path, method=method, **options))

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Make a request; turn what the libraries raise into our errors."""
        problem: SalesforceError
        try:
            return call()
        except SimpleSalesforceError as error:
            problem = refusal(error.status, error.content, what)
        except (requests.RequestException, ValueError) as error:
            problem = SalesforceDown(f"{what}: the answer cannot be read ({type(error).__name__})")
        raise problem  # outside: the library's error holds the whole answer


def _timeout(end: float | None) -> dict[str, Any]:
    return {} if end is None else {"timeout": left(end, float("inf"))}


def _part(name: str) -> str:
    return quote(name, safe="")


def _content(response: requests.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return response.text
