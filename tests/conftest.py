"""In which order files are run (with pytest-xdist's --no-loadscope-reorder), and how properties are tested."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# No test fails by the clock: the machine may be slow and busy.
settings.register_profile("ostiary", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ostiary")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: two processes share the files, and neither shall wait at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
