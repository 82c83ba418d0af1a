"""Whose screen a caller is put on, and where it leads.

An agent chooses (agents.pop): when it rings, when they have answered, or not at all. Who speaks already is not
disturbed by a phone that rings; who has answered wants to know with whom they speak.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agi_server.calls.directory import Directory
from agi_server.errors import DirectoryError
from agi_server.salesforce.links import record_url


@dataclass(slots=True)
class Desk:
    """What is known of agents and addresses.

    `console` is where people reach ours; `instance` is their Salesforce's address, '' while it is not known
    (events/changes.py keeps it in step). Without a directory every agent is shown who rings.
    """

    directory: Directory | None = None
    console: str = ""
    instance: str = ""
    clock: Callable[[], float] = time.time

    def rings(self, extension: str) -> bool:
        """Return whether a caller is put on this agent's screen while the phone rings."""
        return self._pop(extension) == "ringing" and not self._busy(extension)

    def answers(self, extension: str) -> bool:
        """Return whether a caller is put on this agent's screen who has just answered."""
        return self._pop(extension) != "off"

    def region(self) -> str:
        """Return the country of numbers that name none."""
        return self.directory.policy().default.region if self.directory is not None else ""

    def links(self, call_id: str, contact: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the addresses of the caller's record in Salesforce and of the call's page; '' for none."""
        sobject, salesforce_id = (contact["kind"], contact["salesforce_id"]) if contact else ("", "")
        record = record_url(self.instance, sobject, salesforce_id) if self.instance and salesforce_id else ""
        return {
            "record_url": record,
            "call_url": f"{self.console}/calls/{quote(call_id, safe='')}" if self.console else "",
        }

    def task_url(self, salesforce_id: str) -> str:
        """Return the address of a Task in Salesforce; '' for none, or while Salesforce's own is not known."""
        return record_url(self.instance, "Task", salesforce_id) if self.instance and salesforce_id else ""

    def _pop(self, extension: str) -> str:
        agents = self.directory.policy().by_extension if self.directory is not None else {}
        agent = agents.get(extension)
        return agent.pop if agent is not None else "ringing"

    def _busy(self, extension: str) -> bool:
        """Return whether the phone is known to be in use; what no PBX tells, or is told too long ago, is free."""
        if self.directory is None:
            return False
        since = int(self.clock()) - self.directory.policy().state_seconds
        try:
            return self.directory.agent_state(extension, since) == "busy"
        except DirectoryError:
            return False
