"""Bulk API 2.0 ingest jobs: CSV in, one attempt a row, results as CSV; done at once when the upload is.

Only what is needed to load an org through a client we did not write.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.org.errors import OrgError, missing
from tests.org.ids import Allocator
from tests.org.messages import Answer, Request, json_answer, stamp
from tests.org.records import Org

CSV = "text/csv;charset=UTF-8"
DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}


@dataclass
class IngestJob:
    id: str
    sobject: str
    operation: str
    external_id: str
    delimiter: str
    line_ending: str
    version: str
    created: datetime
    state: str = "Open"
    upload: str = ""
    columns: list[str] = field(default_factory=list)
    done: list[tuple[str, bool, dict[str, str]]] = field(default_factory=list)  # id, created, as sent
    failed: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # id, error, as sent


class IngestJobs:
    """The org's ingest jobs."""

    def __init__(self, org: Org, ids: Allocator) -> None:
        self._org = org
        self._ids = ids
        self._jobs: dict[str, IngestJob] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request, version: str, steps: list[str]) -> Answer:
        """Answer jobs/ingest/<steps>; OrgError as Salesforce refuses."""
        match request.method, steps:
            case "POST", []:
                return json_answer(200, self._create(request.json_object(), version))
            case "GET", []:
                records = [self._show(job) for job in self._jobs.values()]
                return json_answer(200, {"done": True, "records": records, "nextRecordsUrl": None})
            case "PUT", [job_id, "batches"]:
                return self._upload(self._find(job_id), request)
            case "PATCH", [job_id]:
                return json_answer(200, self._set_state(self._find(job_id), request.json_object()))
            case "GET", [job_id]:
                return json_answer(200, self._show_progress(self._find(job_id)))
            case "GET", [job_id, "successfulResults"]:
                return _successes(self._find(job_id))
            case "GET", [job_id, "failedResults"]:
                return _failures(self._find(job_id))
            case "GET", [job_id, "unprocessedrecords" | "unprocessedRecords"]:
                return _table(self._find(job_id), [], ())
            case "DELETE", [job_id]:
                with self._lock:
                    self._jobs.pop(self._find(job_id).id)
                return Answer(204)
            case _:
                raise OrgError(
                    "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed", status=405
                )

    def _create(self, wanted: dict[str, Any], version: str) -> dict[str, Any]:
        operation = wanted.get("operation")
        delimiter = wanted.get("columnDelimiter", "COMMA")
        if operation not in {"insert", "update", "upsert", "delete"} or delimiter not in DELIMITERS:
            raise OrgError(
                "INVALIDJOB", f"InvalidJob : Unknown operation or delimiter: {operation} {delimiter}"
            )
        sobject = str(wanted.get("object", ""))
        self._org.describe(sobject)  # refuses what is not there
        if operation == "upsert" and not wanted.get("externalIdFieldName"):
            raise OrgError("INVALIDJOB", "InvalidJob : externalIdFieldName is required for upsert")
        with self._lock:
            job = IngestJob(
                self._ids.next("750"),
                sobject,
                operation,
                str(wanted.get("externalIdFieldName") or ""),
                delimiter,
                str(wanted.get("lineEnding", "LF")),
                version,
                self._org.now(),
            )
            self._jobs[job.id] = job
        return self._show(job) | {"contentUrl": f"services/data/v{version}/jobs/ingest/{job.id}/batches"}

    def _find(self, job_id: str) -> IngestJob:
        if job_id not in self._jobs:
            raise missing()
        return self._jobs[job_id]

    def _upload(self, job: IngestJob, request: Request) -> Answer:
        if not request.header("Content-Type").startswith("text/csv") or job.state != "Open" or job.upload:
            raise OrgError("INVALIDJOBSTATE", "One upload of text/csv to an open job is allowed")
        job.upload = request.body.decode()
        return Answer(201)

    def _set_state(self, job: IngestJob, wanted: dict[str, Any]) -> dict[str, Any]:
        if job.state != "Open" or wanted.get("state") not in {"UploadComplete", "Aborted"}:
            raise OrgError("INVALIDJOBSTATE", f"{job.state} cannot become {wanted.get('state')}")
        job.state = wanted["state"]
        shown = self._show(job)
        if job.state == "UploadComplete":
            self._run(job)
        return shown

    def _run(self, job: IngestJob) -> None:
        types = {item["name"]: item["type"] for item in self._org.describe(job.sobject)["fields"]}
        reader = csv.DictReader(io.StringIO(job.upload, newline=""), delimiter=DELIMITERS[job.delimiter])
        job.columns = list(reader.fieldnames or ())
        for row in reader:
            try:
                job.done.append((*self._write(job, row, types), row))
            except OrgError as error:
                told = f"{error.code}:{error.message}:{','.join(error.fields)} --"
                job.failed.append((row.get("Id") or "", told, row))
        job.state = "JobComplete"

    def _write(self, job: IngestJob, row: Mapping[str, str], types: Mapping[str, str]) -> tuple[str, bool]:
        fields = {name: _value(text, types.get(name, "string")) for name, text in row.items() if text != ""}
        record_id = fields.pop("Id", "") if job.operation in {"update", "delete"} else ""
        match job.operation:
            case "insert":
                return self._org.create(job.sobject, fields), True
            case "update":
                self._org.update(job.sobject, record_id, fields)
            case "upsert":
                value = fields.pop(job.external_id, "")
                return self._org.upsert(job.sobject, job.external_id, value, fields)
            case _:
                self._org.delete(job.sobject, record_id)
        return record_id, False

    def _show(self, job: IngestJob) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": job.sobject,
            "createdById": self._org.user_id,
            "createdDate": stamp(job.created),
            "systemModstamp": stamp(self._org.now()),
            "state": job.state,
            "externalIdFieldName": job.external_id or None,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "lineEnding": job.line_ending,
            "columnDelimiter": job.delimiter,
        }

    def _show_progress(self, job: IngestJob) -> dict[str, Any]:
        return self._show(job) | {
            "jobType": "V2Ingest",
            "retries": 0,
            "totalProcessingTime": 10,
            "numberRecordsProcessed": len(job.done) + len(job.failed),
            "numberRecordsFailed": len(job.failed),
        }


def _value(text: str, kind: str) -> Any:
    if text == "#N/A":
        return None
    match kind:
        case "boolean":
            return text.lower() in {"true", "1"}
        case "int":
            return int(text)
        case "double" | "currency" | "percent":
            return float(text)
        case _:
            return text


def _successes(job: IngestJob) -> Answer:
    rows = (
        {"sf__Id": record_id, "sf__Created": str(created).lower()} | row
        for record_id, created, row in job.done
    )
    return _table(job, ["sf__Id", "sf__Created"], rows)


def _failures(job: IngestJob) -> Answer:
    rows = ({"sf__Id": record_id, "sf__Error": error} | row for record_id, error, row in job.failed)
    return _table(job, ["sf__Id", "sf__Error"], rows)


def _table(job: IngestJob, first: list[str], rows: Iterable[Mapping[str, str]]) -> Answer:
    text = io.StringIO(newline="")
    names = [*first, *(name for name in job.columns if name not in first)]
    writer = csv.DictWriter(
        text, names, delimiter=DELIMITERS[job.delimiter], lineterminator="\n", quoting=csv.QUOTE_ALL
    )
    writer.writeheader()
    writer.writerows(rows)
    return Answer(200, text.getvalue().encode(), kind=CSV)
