from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agi_server.cli import app
from agi_server.errors import InputError

Run = Callable[..., Result]

TABLE = "Name,Phone\r\nAna Núñez,+351 210 000 001\r\nBen,call me\r\n,+351210000003\r\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line on a database of its own; `code` is the exit code that is expected."""
    config = tmp_path / "ostiary.toml"
    config.write_text(f'[storage]\nstate_directory = "{tmp_path}"\n[numbers]\nregion = "PT"\n')

    def run(*arguments: str | Path, code: int = 0, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(app, ["--config", str(config), *map(str, arguments)], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "contacts.csv"
    path.write_text(TABLE, encoding="utf-8", newline="")
    return path


def test_contacts_in_and_out(run: Run, table: Path, tmp_path: Path) -> None:
    result = run("import", "contacts", table, code=3)
    assert "3 rows, 2 taken (2 new, 0 changed), 1 not taken, 1 value left out" in result.output
    assert "read as utf-8, separated by comma" in result.output
    assert "neither a name nor a company" in result.output
    out = tmp_path / "out.csv"
    assert f"2 contacts written to {out}" in run("export", "contacts", out).output
    with out.open(encoding="utf-8", newline="") as file:
        assert [(row["Name"], row["Phone"]) for row in csv.DictReader(file)] == [
            ("Ana Núñez", "+351 210 000 001"),
            ("Ben", ""),
        ]
    run("import", "contacts", out)
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.csv"]


def test_standard_input_and_output(run: Run) -> None:
    run("import", "contacts", "-", stdin=TABLE.encode("utf-16"), code=3)
    text = run("export", "contacts", "-").stdout_bytes.decode()
    assert [row["Name"] for row in csv.DictReader(io.StringIO(text, newline=""))] == ["Ana Núñez", "Ben"]


def test_a_pipe_is_read(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(TABLE,), kwargs={"encoding": "utf-8"})
    writer.start()
    run("import", "contacts", "--all-or-nothing", pipe, code=1)
    writer.join()


def test_cards_in_and_out(run: Run, tmp_path: Path) -> None:
    cards = tmp_path / "people.vcf"
    cards.write_text("BEGIN:VCARD\nVERSION:3.0\nFN:Ana Núñez\nTEL;TYPE=CELL:+351910000001\nEND:VCARD\n")
    run("import", "contacts", cards)
    out = tmp_path / "out.vcf"
    run("export", "contacts", out)
    assert "TEL;TYPE=CELL:+351910000001\r\n" in out.read_bytes().decode()


def test_json(run: Run, table: Path) -> None:
    answer = json.loads(run("import", "contacts", "--json", table, code=3).stdout)
    assert {
        key: answer[key] for key in ("rows", "taken", "not_taken", "inserted", "written", "problem_count")
    } == {
        "rows": 3,
        "taken": 2,
        "not_taken": 1,
        "inserted": 2,
        "written": True,
        "problem_count": 2,
    }
    assert {(problem["line"], problem["row_taken"]) for problem in answer["problems"]} == {
        (3, True),
        (4, False),
    }


def test_a_report_holds_every_problem(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("Name,Phone\n" + ",1\n" * 1500)
    report = tmp_path / "report.csv"
    output = run("import", "contacts", "--report", report, path, code=3).output
    assert output.count("neither a name nor a company") == 20
    assert f"1,480 more; all are in {report}" in output
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1500
    assert rows[-1] == {
        "line": "1501",
        "column": "Name",
        "reason": "neither a name nor a company",
        "value": ",1",
        "row": "not taken",
    }


def test_a_dry_run_makes_no_database(run: Run, table: Path, tmp_path: Path) -> None:
    output = run("import", "contacts", "--dry-run", table, code=3).output
    assert "2 would be taken, 1 not" in output
    assert not (tmp_path / "ostiary.db").exists()


def test_all_or_nothing(run: Run, table: Path) -> None:
    output = run("import", "contacts", "--all-or-nothing", table, code=1).output
    assert "nothing written: 1 cannot be taken" in output
    assert run("export", "contacts", "-").stdout.count("\n") == 1


def test_columns_are_mapped(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("Wer;Tel. 1;Id\nAna;+351210000001;7\n")
    run("import", "contacts", "--map", "Wer=Name", "--map", "Tel. 1=MobilePhone", "--map", "Id=", path)
    rows = list(csv.DictReader(io.StringIO(run("export", "contacts", "-").stdout, newline="")))
    assert [(row["Name"], row["MobilePhone"], row["Key"]) for row in rows] == [("Ana", "+351210000001", "")]
    run("import", "contacts", "--map", "Wer", path, code=2)


def test_the_database_id(run: Run, table: Path) -> None:
    run("import", "contacts", "--database", "crm", table, code=3)
    rows = list(csv.DictReader(io.StringIO(run("export", "contacts", "-").stdout, newline="")))
    assert {row["Database"] for row in rows} == {"crm"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "the file is empty"),
        (b"Wer\nAna\n", "“Wer”"),
        (b"PK\x03\x04", "workbook"),
    ],
)
def test_errors_name_the_file(run: Run, tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "some.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"some.csv: .*{text}"):
        run("import", "contacts", path)


def test_a_directory_is_no_file(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        run("import", "contacts", tmp_path)
    with pytest.raises(InputError, match="cannot be written: "):
        run("export", "agents", tmp_path / "none" / "out.csv")


def test_an_export_that_fails_leaves_what_was_there(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", "contacts", table, code=3)
    out = tmp_path / "out.csv"
    out.write_text("what was there")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agi_server.cli.exchange.write_table", full)
    with pytest.raises(InputError, match="No space left"):
        run("export", "contacts", out)
    assert out.read_text() == "what was there"
    assert list(tmp_path.glob(".out*")) == []


@pytest.mark.parametrize("what", ["blacklist", "agents"])
def test_samples_in_and_out(run: Run, tmp_path: Path, what: str) -> None:
    sample = Path(__file__).parents[2] / "agi_server" / "samples" / f"{what}.csv"
    assert "0 not taken" in run("import", what, sample).output
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    run("export", what, first)
    again = json.loads(run("import", what, "--json", first).stdout)
    assert (again["inserted"], again["updated"], again["problems"]) == (0, again["rows"], [])
    run("export", what, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().count(b"\n") == 1 + again["rows"]


@pytest.mark.parametrize("what", ["blacklist", "agents"])
def test_bad_rows_of_the_others(run: Run, tmp_path: Path, what: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("Pattern,Extension\n+351210000001,101\n,\nnonsense,10 1\n")
    run("import", what, "--dry-run", path, code=3)
    run("import", what, "--all-or-nothing", path, code=1)
    assert run("export", what, "-").stdout.count("\n") == 1
    run("import", what, path, code=3)
    assert run("export", what, "-").stdout.count("\n") == 2
