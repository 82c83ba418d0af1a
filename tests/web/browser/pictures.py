"""Where screenshots go."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

SCREENSHOTS = Path(
    os.environ.get("OSTIARY_SCREENSHOTS") or Path(__file__).parents[3] / ".artefacts" / "screenshots"
)


def shoot(page: Page, *parts: str) -> None:
    """Keep what the browser shows."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{'-'.join(parts)}.png")
