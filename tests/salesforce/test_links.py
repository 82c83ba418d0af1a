from __future__ import annotations

from agi_server.salesforce.links import record_url


def test_where_a_record_is_seen() -> None:
    assert record_url("https://acme.my.salesforce.com/", "Contact", "003000000000001AAA") == (
        "https://acme.my.salesforce.com/lightning/r/Contact/003000000000001AAA/view"
    )


def test_what_is_no_id_leads_nowhere_else() -> None:
    url = record_url("https://acme.example", "Contact", "../../x?y#z")
    assert url == "https://acme.example/lightning/r/Contact/..%2F..%2Fx%3Fy%23z/view"
