"""Addresses of records in Salesforce's own pages."""

from __future__ import annotations

from urllib.parse import quote


def record_url(instance: str, sobject: str, salesforce_id: str) -> str:
    """Return where a record is seen: `instance` is the org's address, e.g. https://acme.my.salesforce.com."""
    return (
        f"{instance.rstrip('/')}/lightning/r/{quote(sobject, safe='')}/{quote(salesforce_id, safe='')}/view"
    )
