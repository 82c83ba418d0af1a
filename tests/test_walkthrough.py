"""The script of docs/salesforce.md that shows it all without a Salesforce, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="NOT TESTED: the script of docs/salesforce.md (no curl)"
)
def test_see_it_work(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "salesforce.md").read_text(encoding="utf-8")
    found = re.search(r"## See it work.*?```bash\n(.*?)```", text, re.DOTALL)
    assert found
    script = found[1].replace("$PWD", str(ROOT))
    for port in ("8901", "8902", "4599"):
        script = script.replace(port, str(free_port()))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OSTIARY_")}
    running = subprocess.Popen(
        ["bash", "-mec", script],  # -m: jobs may be ended by their number, as at a prompt
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = running.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise
    assert running.returncode == 0, printed
    before, after = printed.split("Muñoz-Weber", 1)
    assert "Ana Muñoz\n" in before
    assert re.search(r"OSTIARY_ROUTE +101\n", before)
    assert re.search(r"OSTIARY_ROUTE +101\n", after)
