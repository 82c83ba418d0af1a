"""`ping`: are you there?"""

from __future__ import annotations

from agi_server import __version__
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from agi_server.scripts import variables
from agi_server.scripts.services import Services


def ping(_request: AgiRequest, services: Services) -> Answer:
    """Set STATUS to `ok` and the version."""
    return Answer({services.settings.fastagi.prefix + variables.STATUS: f"ok {__version__}"})
