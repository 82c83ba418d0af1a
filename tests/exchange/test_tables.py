from __future__ import annotations

import csv
import io
import tempfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import InputError
from agi_server.exchange.headings import contact_fields
from agi_server.exchange.report import Report
from agi_server.exchange.tables import LINES_OF_A_ROW, Table, open_table


def known(headings: list[str]) -> int:
    return sum(map(bool, contact_fields(headings)))


def read(data: bytes, encoding: str = "") -> tuple[Table, list[tuple[int, list[str]]], Report]:
    report = Report()
    table = open_table(io.BytesIO(data), known, encoding=encoding)
    return table, list(table.rows(report)), report


NAMES = "Name,Phone\nJosé Núñez,+351210000001\nJürgen Groß,+4930231250\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (NAMES.encode(), "utf-8-sig"),
        (NAMES.encode("utf-8-sig"), "utf-8-sig"),
        (NAMES.encode("utf-16"), "utf-16"),  # Outlook; with its mark
        (NAMES.encode("utf-16-le"), "utf-16-le"),
        (NAMES.encode("utf-16-be"), "utf-16-be"),
        (NAMES.encode("utf-32"), "utf-32"),
        (NAMES.encode("cp1252"), "cp1252"),
        (NAMES.replace("\n", "\r\n").encode("cp1252"), "cp1252"),
    ],
)
def test_encodings_are_found(data: bytes, encoding: str) -> None:
    table, rows, report = read(data)
    assert table.encoding == encoding
    assert table.headings == ["Name", "Phone"]
    assert [cells[0] for _, cells in rows] == ["José Núñez", "Jürgen Groß"]
    assert report.count == 0


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        ("Jürgen Groß", "cp1252"),
        ("José", "cp1252"),
        ("João Conceição\nInês Simões", "cp1252"),
        ("Café – O’Brien “Ltd”", "cp1252"),
        ("Łukasz Wiśniewski\nGrażyna Żółć\nŚwiętosław Książek", "cp1250"),
        ("Дмитрий Соколов\nАнна Иванова\nООО Ромашка", "cp1251"),
        ("Γιώργος Παπαδόπουλος\nΕλένη Νικολάου\nΔημήτρης", "cp1253"),
        ("田中 宏\n山田 太郎\n株式会社サンプル\n佐藤 花子", "cp932"),
        ("王小明\n李雷\n上海贸易有限公司\n张伟", "gb18030"),
        ("김철수\n이영희\n주식회사 예시\n박지민", "euc_kr"),
    ],
)
def test_encodings_of_old_are_guessed(names: str, encoding: str) -> None:
    text = "Name,Phone,Email\n" + "".join(
        f"{name},+49302312{i},a{i}@example.com\n" for i, name in enumerate(names.split("\n"))
    )
    _, rows, report = read(text.encode(encoding))
    assert [cells[0] for _, cells in rows] == names.split("\n")
    assert report.count == 0


def test_an_encoding_shows_late_in_a_file() -> None:
    plain = b"Ana Nunes,+351210000001\n" * 100_000
    _, rows, report = read(b"Name,Phone\n" + plain + "Jürgen Groß,1\nJosé,2\n".encode("cp1252"))
    assert [cells[0] for _, cells in rows[-2:]] == ["Jürgen Groß", "José"]
    assert report.count == 0


def test_a_given_encoding_is_taken() -> None:
    _, rows, _ = read("Name,Phone\nŁukasz,1\n".encode("cp1250"), "cp1250")
    assert rows == [(2, ["Łukasz", "1"])]
    with pytest.raises(InputError, match="unknown encoding"):
        read(b"Name\nA\n", "no-such")


@pytest.mark.parametrize("wanted", ["base64", "rot13", "zlib"])
def test_a_codec_that_is_no_encoding_is_an_error(wanted: str) -> None:
    with pytest.raises(InputError, match="unknown encoding"):
        read(b"Name\nA\n", wanted)


def test_bytes_of_another_encoding_cost_their_row_only() -> None:
    data = "Name,Phone\nJürgen,1\n".encode() + b"Jos\xe9,2\n" + "Zoë,3\nÅsa,4\n".encode()
    _, rows, report = read(data)
    assert [(line, cells[0]) for line, cells in rows] == [(2, "Jürgen"), (4, "Zoë"), (5, "Åsa")]
    assert [(problem.line, problem.row_taken) for problem in report.problems] == [(3, False)]
    assert "Jos" in report.problems[0].value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_are_found(delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in [["Name", "Phone", "Notes"], ["Ana", "1", "x"]])
    table, rows, _ = read(text.encode())
    assert table.delimiter == delimiter
    assert rows == [(2, ["Ana", "1", "x"])]


def test_headings_decide_rather_than_the_number_of_columns() -> None:
    table, rows, _ = read(b'Name;Phone;"Remarks, (a, b, c, d, e, f)"\nAna;1;\n')
    assert table.delimiter == ";"
    assert rows == [(2, ["Ana", "1", ""])]


def test_excels_own_hint_is_read() -> None:
    table, rows, _ = read(b"sep=;\r\nName;Phone\r\nAna;1\r\n")
    assert (table.delimiter, table.headings, rows) == (";", ["Name", "Phone"], [(3, ["Ana", "1"])])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_the_file(end: str) -> None:
    text = end.join(["", "Name,Phone", '"Ana', 'Nunes",1', "", " , ", "Zoe,2"]) + end
    _, rows, _ = read(text.encode())
    assert [(line, cells[1]) for line, cells in rows] == [(3, "1"), (7, "2")]


@pytest.mark.parametrize("rest", ["", "Ben,2\nZoe,3\n", "Ben,2\n" * 2 * LINES_OF_A_ROW])
def test_a_quote_that_never_closes_costs_its_row_only(rest: str) -> None:
    _, rows, report = read(f'Name,Phone\nAna,1\n"Bad,2\n{rest}'.encode())
    assert [line for line, _ in rows] == [2, *range(4, 4 + rest.count("\n"))]
    assert [(problem.line, problem.row_taken) for problem in report.problems] == [(3, False)]
    assert "never closed" in report.problems[0].reason


def test_two_quotes_that_never_close() -> None:
    filler = "Ben,2\n" * (LINES_OF_A_ROW + 1)
    _, rows, report = read(f'Name,Phone\n"Bad,1\n{filler}"Worse,2\n{filler}'.encode())
    assert len(rows) == 2 * (LINES_OF_A_ROW + 1)
    assert [problem.line for problem in report.problems] == [2, LINES_OF_A_ROW + 4]


def test_a_cell_beyond_all_bounds_costs_its_row_only() -> None:
    long = "x" * (csv.field_size_limit() + 1)
    _, rows, report = read(f"Name,Phone\nAna,1\n{long},2\nZoe,3\n".encode())
    assert [line for line, _ in rows] == [2, 4]
    assert [problem.line for problem in report.problems] == [3]
    assert len(report.problems[0].value) <= 120


def test_nul_bytes_do_no_harm() -> None:
    _, rows, report = read(b"Name,Phone\nA\0na,1\n\0,\0\nZoe,3\n")
    assert [cells[1] for _, cells in rows if cells[0] != "\0"] == ["1", "3"]
    assert report.count == 0


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_an_empty_file_is_an_error(data: bytes) -> None:
    with pytest.raises(InputError, match="empty"):
        read(data)


@pytest.mark.parametrize("data", [b"PK\x03\x04rest", b"\xd0\xcf\x11\xe0rest", b"%PDF-1.4", b"\x1f\x8b"])
def test_what_is_no_text_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(InputError, match="not a text file"):
        read(data)


def test_headings_only() -> None:
    table, rows, report = read(b"Name,Phone\n")
    assert (table.headings, rows, report.count) == (["Name", "Phone"], [], 0)


def test_a_file_may_be_read_twice_and_stays_open() -> None:
    file = io.BytesIO(NAMES.encode())
    table = open_table(file, known)
    assert list(table.rows(Report())) == list(table.rows(Report()))
    assert not file.closed


def test_memory_is_bounded() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"Name,Phone\n")
        for _ in range(20):
            file.write("Jürgen Groß,+4930231250\n".encode() * 10_000)
        table = open_table(file, known)
        tracemalloc.start()
        try:
            assert sum(1 for _ in table.rows(Report())) == 200_000
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd\r\ufeff"), max_size=12)


@settings(max_examples=150)
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_is_written_is_read(rows: list[list[str]], delimiter: str, encoding: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["Name", "Phone", "Email"], *rows])
    _, found, report = read(out.getvalue().encode(encoding), encoding)
    assert [cells for _, cells in found] == [row for row in rows if "".join(row).strip()]
    assert report.count == 0


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        _, rows, report = read(b"Name,Phone\n" + data)
    except InputError:
        return
    lines = [line for line, _ in rows] + [problem.line for problem in report.problems]
    assert len(lines) == len(set(lines))
