"""The shapes of our answers against recorded ones of real orgs: the same keys, values of the same JSON types.

Nothing recorded is kept in the repository. Not among the recordings, and so not compared: token answers, Bulk
API 2.0, deleted, limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.org.conftest import Api
from tests.org.recordings import Recording, fetch, recordings
from tests.org.records import Org

# What a client decides by; lengths of picklists and the like differ between orgs.
RELIED_ON = (
    "type", "soapType", "custom", "referenceTo", "polymorphicForeignKey", "namePointing", "externalId", "unique",
    "calculated", "sortable", "scale", "cascadeDelete", "caseSensitive", "encrypted", "htmlFormatted",
)  # fmt: skip
NEWER = {"associateEntityType", "associateParentEntity", "sobjectDescribeOption"}  # since some version


@pytest.fixture(scope="module")
def recorded() -> list[Recording]:
    wheel = fetch()
    if wheel is None:
        pytest.skip("NOT COMPARED with recorded answers: the wheel of cumulusci 4.10.1 cannot be fetched")
    return recordings(wheel)


def find(recorded: list[Recording], method: str, target: str, file: str = "") -> Iterator[Any]:
    """Yield the answers to a request; at least one, or the recordings are not what they were."""
    found = [r.answer for r in recorded if (r.method, r.target) == (method, target) and file in r.file]
    assert found, f"no recording of {method} {target}"
    yield from found


def differences(theirs: Any, ours: Any, path: str = "$") -> list[str]:
    """Return where our answer has not the keys and types of theirs; null fits everything."""
    if theirs is None or ours is None:
        return []
    if _kind(theirs) != _kind(ours):
        return [f"{path}: {_kind(theirs)} there, {_kind(ours)} here"]
    if isinstance(theirs, dict):
        found = [f"{path}.{key}: only there" for key in theirs if key not in ours]
        found += [f"{path}.{key}: only here" for key in ours if key not in theirs]
        for key in theirs.keys() & ours.keys():
            found += differences(theirs[key], ours[key], f"{path}.{key}")
        return found
    if isinstance(theirs, list) and theirs:
        return [text for place, item in enumerate(ours) for text in _least(theirs, item, f"{path}[{place}]")]
    return []


def _least(theirs: list[Any], item: Any, path: str) -> list[str]:
    return min((differences(their, item, path) for their in theirs), key=len)


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", dict: "object", list: "list"}
    return names[type(value)]


def test_the_comparison_sees_differences() -> None:
    theirs = {"a": [{"b": 1, "c": None}], "d": True}
    assert differences(theirs, {"a": [{"b": 2.5, "c": "x"}], "d": False}) == []
    assert differences(theirs, {"a": [], "d": False}) == []
    assert differences(theirs, {"a": [{"b": "1", "c": 0}], "d": False}) == [
        "$.a[0].b: number there, text here"
    ]
    assert differences(theirs, {"a": [{"b": 1}], "d": 1}) in (
        ["$.a[0].c: only there", "$.d: boolean there, number here"],
        ["$.d: boolean there, number here", "$.a[0].c: only there"],
    )
    assert differences(theirs, {**theirs, "e": 1}) == ["$.e: only here"]


def test_the_recordings_can_be_read(recorded: list[Recording]) -> None:
    """Folded, quoted and wrapped texts of the recordings all come out as JSON that says something."""
    assert len(recorded) >= 130
    assert {r.file.partition(".")[0] for r in recorded} >= {"TestUpsert", "GET_sobjects_Contact_describe"}


@pytest.mark.parametrize("soql", [
    "SELECT Id, Name, Description, Phone, AccountNumber FROM Account",
    "SELECT Id FROM Account LIMIT 5",
    "SELECT FirstName,LastName FROM User LIMIT 1",
    "select FirstName from Contact",
    "select Email from Contact",
    "select Name from Account where AccountNumber='420'",
])  # fmt: skip
def test_query(recorded: list[Recording], api: Api, org: Org, soql: str) -> None:
    for place in range(3):
        org.create("Account", {"Name": f"A{place}", "AccountNumber": "420", "Phone": "+4930123"})
        org.create("Contact", {"FirstName": "x", "LastName": f"C{place}", "Email": f"c{place}@example.com"})
    ours = api.get("query/", params={"q": soql}).json()
    assert ours["records"]
    for theirs in find(recorded, "GET", f"query/?q={soql}"):
        assert differences(theirs, ours) == []


def test_empty_query_and_count(recorded: list[Recording], api: Api) -> None:
    soql = "select Id,FirstName,LastName from Contact"
    for theirs in find(recorded, "GET", f"query/?q={soql}"):
        assert api.get("query/", params={"q": soql}).json() == theirs
    for theirs in find(recorded, "GET", "limits/recordCount?sObjects=Opportunity"):
        assert api.get("limits/recordCount", params={"sObjects": "Opportunity"}).json() == theirs


def test_record_count(recorded: list[Recording], api: Api, org: Org) -> None:
    org.create("Account", {"Name": "A"})
    for theirs in find(recorded, "GET", "limits/recordCount?sObjects=Account"):
        ours = api.get("limits/recordCount", params={"sObjects": "Account"}).json()
        assert differences(theirs, ours) == []


def test_create(recorded: list[Recording], api: Api) -> None:
    ours = api.post("sobjects/Account/", json={"Name": "Smith Corp."})
    assert ours.status_code == 201
    for theirs in find(recorded, "POST", "sobjects/Account/"):
        assert differences(theirs, ours.json()) == []


def test_collections(recorded: list[Recording], api: Api) -> None:
    rows = [{"attributes": {"type": "Account"}, "Name": f"A{place}"} for place in range(3)]
    ours = api.post("composite/sobjects", json={"records": rows}).json()
    for theirs in find(recorded, "POST", "composite/sobjects"):
        assert differences(theirs, ours) == []
    changed = [{"attributes": {"type": "Account"}, "id": result["id"], "Name": "B"} for result in ours]
    ours = api.patch("composite/sobjects", json={"records": changed}).json()
    for theirs in find(recorded, "PATCH", "composite/sobjects"):
        assert differences(theirs, ours) == []


@pytest.mark.parametrize("key", ["Email", "Id"])
def test_collections_upsert(recorded: list[Recording], api: Api, org: Org, key: str) -> None:
    known = org.create("Contact", {"LastName": "x", "Email": "a@example.com"})
    values = ["a@example.com", "b@example.com"] if key == "Email" else [known, None]
    rows = [{"attributes": {"type": "Contact"}, "LastName": "y", key: value} for value in values]
    ours = api.patch(f"composite/sobjects/Contact/{key}", json={"allOrNone": False, "records": rows}).json()
    assert [result["created"] for result in ours] == [False, True]
    for theirs in find(recorded, "PATCH", f"composite/sobjects/Contact/{key}"):
        assert differences(theirs, ours) == []


def _composite(api: Api, **targets: str) -> Any:
    parts = [{"referenceId": name, "method": "GET", "url": target} for name, target in targets.items()]
    return api.post("composite", json={"compositeRequest": parts}).json()


def test_error_of_an_unknown_path(recorded: list[Recording], api: Api) -> None:
    ours = _composite(api, CCI__RefId__0__="/services/data/v64.0/sobjects/Foo")
    for theirs in find(recorded, "POST", "composite", "TestCompositeParallelSalesforce.test_errors"):
        assert ours == theirs


def test_error_of_an_unknown_object(recorded: list[Recording], api: Api, org: Org) -> None:
    org.load("Account", ({"Name": f"A{place}"} for place in range(17)))
    ours = _composite(
        api,
        refAccount="/services/data/v64.0/query/?q=select count() from Account",
        refXYZZY="/services/data/v64.0/query/?q=select count() from XYZZY",
    )
    for theirs in find(recorded, "POST", "composite", "TestCountSObjects.test_count_sobjects__errors"):
        assert ours == theirs


def test_organization(recorded: list[Recording], api: Api, org: Org) -> None:
    """Ours has fewer fields, but none that a real one has not."""
    ours = api.get(f"sobjects/Organization/{org.organization_id}").json()
    for theirs in find(recorded, "GET", "sobjects/Organization/00D0xORGID00000000"):
        found = differences(theirs, ours)
        assert [text for text in found if not text.endswith("only there")] == []


def test_describe_global(recorded: list[Recording], api: Api) -> None:
    ours = api.get("sobjects").json()
    for theirs in find(recorded, "GET", "sobjects"):
        found = differences(theirs, ours)
        assert [text for text in found if ".urls." not in text] == []


DESCRIBED = ["Contact", "Account", "Lead", "Opportunity"]


@pytest.mark.parametrize("name", [*DESCRIBED, "Account_PersonAccount"])
def test_describe(recorded: list[Recording], name: str) -> None:
    org = Org(person_accounts=name == "Account_PersonAccount")
    ours = org.describe(name.partition("_")[0])
    org.close()
    [theirs] = find(
        recorded, "GET", f"sobjects/{name.partition('_')[0]}/describe", f"GET_sobjects_{name}_describe"
    )
    assert set(theirs) - set(ours) == set()
    assert set(ours) - set(theirs) <= NEWER
    their_fields = {item["name"]: item for item in theirs["fields"]}
    own = 0
    for item in ours["fields"]:
        their = their_fields.get(item["name"])
        if their is None:  # a custom one, or one that orgs can switch off
            own += 1
            continue
        assert (
            differences({**their, "picklistValues": []}, {**item, "picklistValues": []}, item["name"]) == []
        )
        assert {key: item[key] for key in RELIED_ON} == {key: their[key] for key in RELIED_ON}, item["name"]
        if item["type"] in {"phone", "id", "reference", "email", "url"}:
            assert item["length"] == their["length"], item["name"]
    assert own <= 5


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_same_fields_are_required(recorded: list[Recording], org: Org, name: str) -> None:
    def required(described: Any) -> set[str]:
        return {
            item["name"]
            for item in described["fields"]
            if item["createable"] and not item["nillable"] and not item["defaultedOnCreate"]
        }

    [theirs] = find(recorded, "GET", f"sobjects/{name}/describe", f"GET_sobjects_{name}_describe")
    assert required(org.describe(name)) == required(theirs)
