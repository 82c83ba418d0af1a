from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.errors import InputError, SettingsError
from agi_server.salesforce.templates import (
    DEFAULT_FIELDS,
    RECORD_VARIABLES,
    TASK_VARIABLES,
    VARIABLES,
    check,
    check_fields,
    check_task,
    render,
)
from agi_server.settings import CreateEntry, Salesforce, Tasks

VALUES = {
    "Number": "+4930123456",
    "Name": "Ana [Muñoz]",
    "DID": "4940",
    "Key": "k-7",
    "Database": "crm",
    "ContactId": "7",
    "Date": "2026-11-21",
    "DateTime": "2026-11-21T16:08:51+01:00",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("Call from [Name] to [DID]", "Call from Ana [Muñoz] to 4940"),
        ("[number]/[NUMBER]/[ Number ]", "+4930123456/+4930123456/+4930123456"),
        ("[Key] [Database] [ContactId]", "k-7 crm 7"),
        ("[Date] [DateTime]", "2026-11-21 2026-11-21T16:08:51+01:00"),
        ("[[Name]", "[Name]"),
        ("[[[Number]]", "[+4930123456]"),
        ("a ] b", "a ] b"),
        ("{Name} %(Name)s \\1 $", "{Name} %(Name)s \\1 $"),
    ],
)
def test_render(template: str, text: str) -> None:
    check(template)
    assert render(template, VALUES) == text


def test_a_value_that_is_missing_is_empty() -> None:
    assert render("<[Name]>", {}) == "<>"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("[Nmae]", "did you mean [Name]?"),
        ("[numbr]", "did you mean [Number]?"),
        ("[datetim]", "did you mean [DateTime]?"),
        ("[Zzz]", "there are [Number] [Name]"),
        ("[]", "there is no []"),
        ("Call [Name", "the [ at 6 is not closed"),
        ("[Name [DID]", "the [ at 1 is not closed"),
    ],
)
def test_a_mistake_is_told_and_yet_rendered(template: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        check(template)
    assert told in str(caught.value)
    assert render(template, {"DID": "1"}) == template.replace("[DID]", "1")


@settings(max_examples=200)
@given(st.text(alphabet="[]Name DIDx{\n", max_size=30), st.text(max_size=10))
def test_render_never_fails_and_never_reads_a_value_again(template: str, value: str) -> None:
    marked = render(template, dict.fromkeys(VARIABLES, "\0"))
    assert render(template, dict.fromkeys(VARIABLES, value)) == marked.replace("\0", value)


@given(st.text(max_size=30))
def test_any_text_can_be_written(text: str) -> None:
    template = text.replace("[", "[[")
    check(template)
    assert render(template, VALUES) == text


@given(st.lists(st.sampled_from([*VARIABLES, None]), max_size=6))
def test_what_is_accepted_has_every_variable_replaced(names: list[str | None]) -> None:
    template = "|".join("[[" if name is None else f"[{name}]" for name in names)
    check(template)
    assert render(template, VALUES) == "|".join("[" if name is None else VALUES[name] for name in names)


# As in "CRM template XML description" of 3CX: ReportCall, ReportChat.
OF_3CX = """
    Number CallType CallDirection Name EntityId EntityType Agent AgentFirstName AgentLastName AgentEmail Duration
    DurationTimespan DateTime CallStartTimeLocal CallStartTimeUTC CallEstablishedTimeLocal CallEstablishedTimeUTC
    CallEndTimeLocal CallEndTimeUTC QueueExtension Transcription Summary Sentiment RecordingUrl RecordingHyperLink
    LineBreak FoundRecordCount Contact::ContactID Contact::FirstName Contact::LastName ChatMessages ChatStartTimeUTC
    ChatEndTimeUTC Email
"""


def test_every_variable_of_3cx_may_be_in_a_task() -> None:
    for name in OF_3CX.split():
        check_task(f"[{name}]")
        assert render(f"<[{name}]>", {name: "x"}) == "<x>"
        assert name in RECORD_VARIABLES


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("[Key]", "there is no [Key]"),  # of contacts
        ("[Agnt]", "did you mean [Agent]?"),
        ('[[CallStartTimeUTC].ToString("yyyy-MM-dd")]', "3CX's methods"),
        ('[[[DurationTimespan].get_TotalSeconds()].ToString("F0")]', "3CX's methods"),
        ("[Name", "not closed"),
    ],
)
def test_what_a_task_cannot_say(template: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        check_task(template)
    assert told in str(caught.value)
    with pytest.raises(ValueError, match="cannot be used"):
        Tasks(inbound_text=template)


@given(st.lists(st.sampled_from(TASK_VARIABLES), max_size=6), st.text(max_size=10))
def test_a_task_has_every_variable_replaced(names: list[str], value: str) -> None:
    template = "|".join(f"[{name.swapcase()}]" for name in names)
    check_task(template)
    assert render(template, dict.fromkeys(TASK_VARIABLES, value)) == "|".join(value for _ in names)


@pytest.mark.parametrize(
    ("sobject", "fields"),
    [
        ("none", {}),
        ("Contact", dict(DEFAULT_FIELDS)),
        ("Contact", {"lastname": "Caller [Number]", "Source__c": "x"}),
        ("Lead", {"LastName": "[Name]", "Company": "Call to [DID]"}),
    ],
)
def test_fields_that_make_a_record(sobject: str, fields: dict[str, str]) -> None:
    check_fields(sobject, fields)


@pytest.mark.parametrize(
    ("sobject", "fields", "told"),
    [
        ("none", {"LastName": "x"}, "takes no fields"),
        ("Contact", {}, "needs the field LastName"),
        ("Contact", {"LastName": " "}, "needs the field LastName"),
        ("Lead", {"LastName": "[Name]"}, 'add e.g. Company = "Call to [DID]"'),
        ("Contact", {"LastName": "[Nam]"}, "field LastName: template '[Nam]'"),
        ("Contact", {"LastName": "x", "lastname": "y"}, "there twice"),
        ("Contact", {"LastName": "x", "Id": "y"}, "Salesforce's to fill"),
        ("Contact", {"LastName": "x", "Account.Name": "y"}, "'Account.Name' is not the API name"),
    ],
)
def test_fields_that_make_none(sobject: str, fields: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        check_fields(sobject, fields)
    assert told in str(caught.value)


def test_the_settings_refuse_them() -> None:
    assert Salesforce(create=(CreateEntry(object="none"),)).create[0].object == "none"
    with pytest.raises((SettingsError, ValueError), match="needs the field Company"):
        Salesforce(create=(CreateEntry(object="Lead", fields={"LastName": "[Name]"}),))


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, agi_server.salesforce.templates\n"
        "heavy = {'simple_salesforce', 'requests', 'sqlalchemy', 'jwt', 'phonenumbers', 'pydantic'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
