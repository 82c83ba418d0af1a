"""Bulk API 2.0: query jobs whose result lies in a file, so that a page can be read again; ingest jobs.

The rows are written by a thread of the job's own while the client polls. A locator is the number of the
next row, in Base64. Every page begins with the header.
"""

from __future__ import annotations

import base64
import csv
import os
import re
import tempfile
import threading
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from tests.org.errors import OrgError, missing
from tests.org.ids import Allocator
from tests.org.ingest import CSV, DELIMITERS, IngestJobs
from tests.org.messages import Answer, Request, json_answer, stamp
from tests.org.records import Org

LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
FINAL = {"JobComplete", "Failed", "Aborted"}
CHUNK = 64 * 1024


@dataclass
class QueryJob:
    id: str
    sobject: str
    operation: str
    delimiter: str
    line_ending: str
    version: str
    created: datetime
    state: str = "UploadComplete"
    error: str = ""
    polls: int = 0
    rows: int = 0
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    file: IO[bytes] | None = None
    written: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def close(self) -> None:
        """Stop writing and let the file go."""
        self.stopped.set()
        if self.thread:
            self.thread.join()
        if self.file:
            self.file.close()


class Bulk:
    """The org's jobs. What a test may change: the attributes of the first paragraph."""

    def __init__(self, org: Org) -> None:
        self.polls = 1  # questions about a job that are answered "InProgress" before it is done
        self.page = 50_000  # rows of a page at most, whatever the client asks for
        self.unsupported: set[str] = set()  # objects that Bulk does not know
        self.enabled = True
        self.failing: list[str] = []  # errorMessages of the next jobs, which fail

        self.started = 0
        self._org = org
        self._ids = Allocator()
        self._jobs: dict[str, QueryJob] = {}
        self._lock = threading.Lock()
        self._ingest = IngestJobs(org, self._ids)

    def close(self) -> None:
        """Stop every job."""
        with self._lock:
            for job in self._jobs.values():
                job.close()
            self._jobs.clear()

    def answer(self, request: Request, version: str, steps: list[str]) -> Answer:
        """Answer /services/data/vNN.0/jobs/<steps>; OrgError as Salesforce refuses."""
        if not self.enabled:
            raise OrgError(
                "API_DISABLED_FOR_ORG", "Bulk API is not enabled for this Organization or Partner", status=403
            )
        if steps[:1] == ["ingest"]:
            return self._ingest.answer(request, version, steps[1:])
        if steps[:1] != ["query"]:
            raise missing()
        match request.method, steps[1:]:
            case "POST", []:
                return json_answer(200, self._create(request.json_object(), version))
            case "GET", []:
                return self._list()
            case "GET", [job_id]:
                return json_answer(200, self._poll(self._find(job_id)))
            case "PATCH", [job_id]:
                return json_answer(200, self._abort(self._find(job_id), request.json_object()))
            case "DELETE", [job_id]:
                return self._delete(self._find(job_id))
            case "GET", [job_id, "results"]:
                return self._results(self._find(job_id), request.params)
            case _:
                raise OrgError(
                    "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed", status=405
                )

    def _create(self, wanted: dict[str, Any], version: str) -> dict[str, Any]:
        operation = wanted.get("operation")
        soql = wanted.get("query")
        if operation not in {"query", "queryAll"} or not isinstance(soql, str):
            raise OrgError("INVALIDJOB", "InvalidJob : operation query or queryAll and a query are wanted")
        delimiter = wanted.get("columnDelimiter", "COMMA")
        line_ending = wanted.get("lineEnding", "LF")
        if (
            delimiter not in DELIMITERS
            or line_ending not in LINE_ENDINGS
            or wanted.get("contentType", "CSV") != "CSV"
        ):
            raise OrgError("INVALIDJOB", "InvalidJob : Unknown columnDelimiter, lineEnding or contentType")
        named = re.search(r"\bFROM\s+(\w+)", soql, re.IGNORECASE)
        sobject = named[1] if named else ""
        if sobject.lower() in {name.lower() for name in self.unsupported}:
            raise OrgError("INVALIDENTITY", f"Entity '{sobject}' is not supported by the Bulk API.")
        header, rows = self._org.rows(soql, deleted=operation == "queryAll")
        with self._lock:
            self.started += 1
            job = QueryJob(
                self._ids.next("750"), sobject, operation, delimiter, line_ending, version, self._org.now()
            )
            job.error = self.failing.pop(0) if self.failing else ""
            job.file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the job
            job.thread = threading.Thread(target=_write, args=(job, header, rows), name=f"org-job-{job.id}")
            self._jobs[job.id] = job
            job.thread.start()
        return self._show(job)

    def _find(self, job_id: str) -> QueryJob:
        with self._lock:
            for job in self._jobs.values():
                if job_id in {job.id, job.id[:15]}:
                    return job
        raise missing()

    def _list(self) -> Answer:
        with self._lock:
            records = [self._show(job) for job in self._jobs.values()]
        return json_answer(200, {"done": True, "records": records, "nextRecordsUrl": None})

    def _poll(self, job: QueryJob) -> dict[str, Any]:
        job.polls += 1
        if job.state not in FINAL:
            job.state = "InProgress"
            if job.polls > self.polls and job.written.wait(1.0):
                job.state = "Failed" if job.error else "JobComplete"
        complete = job.state == "JobComplete"
        shown = self._show(job) | {
            "jobType": "V2Query",
            "numberRecordsProcessed": job.rows if complete else 0,
            "retries": 0,
            "totalProcessingTime": 100 if complete else 0,
            "isPkChunkingSupported": True,
        }
        return shown | ({"errorMessage": job.error} if job.state == "Failed" else {})

    def _abort(self, job: QueryJob, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted.get("state") != "Aborted":
            raise OrgError("INVALIDJOB", "InvalidJob : a query job can only be Aborted")
        if job.state in FINAL:
            raise OrgError("INVALIDJOBSTATE", f"Aborting already {job.state} Job not allowed")
        job.stopped.set()
        job.state = "Aborted"
        return self._show(job)

    def _delete(self, job: QueryJob) -> Answer:
        if job.state not in FINAL:
            raise OrgError(
                "API_ERROR", "Error encountered when deleting the job because the job is not terminated"
            )
        with self._lock:
            self._jobs.pop(job.id)
        job.close()
        return Answer(204)

    def _results(self, job: QueryJob, params: dict[str, str]) -> Answer:
        if job.state != "JobComplete":
            raise OrgError("INVALIDJOBSTATE", f"The job has no results: it is {job.state}")
        start = _row_of(params["locator"]) if "locator" in params else 0
        if not params.get("maxRecords", "1").isdecimal() or not 0 <= start <= job.rows:
            raise OrgError("INVALID_QUERY_LOCATOR", "invalid query locator or maxRecords")
        end = min(start + min(int(params.get("maxRecords") or self.page) or self.page, self.page), job.rows)
        headers = {
            "Sforce-Locator": _locator_of(end) if end < job.rows else "null",
            "Sforce-NumberOfRecords": str(end - start),
        }
        return Answer(200, kind=CSV, headers=headers, stream=_page(job, start, end))

    def _show(self, job: QueryJob) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.sobject,
            "createdById": self._org.user_id,
            "createdDate": stamp(job.created),
            "systemModstamp": stamp(self._org.now()),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "lineEnding": job.line_ending,
            "columnDelimiter": job.delimiter,
        }


class _Lines:
    """What csv.writer writes to; it calls `write` once a row."""

    def __init__(self, job: QueryJob) -> None:
        self._job = job
        self._size = 0
        self._waiting: list[bytes] = []

    def write(self, text: str) -> None:
        line = text.encode()
        self._job.offsets.append(self._size)
        self._size += len(line)
        self._waiting.append(line)
        if len(self._waiting) >= 1000:
            self.flush()

    def flush(self) -> None:
        assert self._job.file is not None
        self._job.file.write(b"".join(self._waiting))
        self._waiting.clear()

    def end(self) -> None:
        self.flush()
        assert self._job.file is not None
        self._job.file.flush()
        self._job.offsets.append(self._size)


def _write(job: QueryJob, header: list[str], rows: Iterator[list[str]]) -> None:
    lines = _Lines(job)
    writer = csv.writer(
        lines,
        delimiter=DELIMITERS[job.delimiter],
        lineterminator=LINE_ENDINGS[job.line_ending],
        quoting=csv.QUOTE_ALL,
    )
    try:
        writer.writerow(header)  # row 0 of the file
        for row in rows:
            if job.stopped.is_set():
                return
            writer.writerow(row)
        lines.end()
        job.rows = len(job.offsets) - 2
    except OrgError as error:
        job.error = f"{error.code}: {error.message}"
    finally:
        job.written.set()


def _page(job: QueryJob, start: int, end: int) -> Iterator[bytes]:
    """Yield the header and rows start … end-1 in chunks, straight from the file."""
    yield from _bytes(job, 0, job.offsets[1])
    yield from _bytes(job, job.offsets[start + 1], job.offsets[end + 1])


def _bytes(job: QueryJob, start: int, end: int) -> Iterator[bytes]:
    assert job.file is not None
    while start < end:
        chunk = os.pread(job.file.fileno(), min(CHUNK, end - start), start)  # pages may be read side by side
        start += len(chunk)
        yield chunk


def _locator_of(row: int) -> str:
    return base64.b64encode(str(row).encode()).decode()


def _row_of(locator: str) -> int:
    try:
        return int(base64.b64decode(locator, validate=True))
    except ValueError as error:
        raise OrgError("INVALID_QUERY_LOCATOR", "invalid query locator") from error
