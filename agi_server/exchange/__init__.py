"""Files of contacts, blacklist entries and agents: what others write, and what we write."""

from agi_server.exchange.agents import import_agents
from agi_server.exchange.blacklist import import_blacklist
from agi_server.exchange.contacts import ContactFile, import_contacts
from agi_server.exchange.report import ImportResult, Report

__all__ = ["ContactFile", "ImportResult", "Report", "import_agents", "import_blacklist", "import_contacts"]
