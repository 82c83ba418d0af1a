import subprocess
import sys


def test_the_demo_plays_its_calls_and_ends() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "agi_server", "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for seen in (
        "Jürgen Groß", "Brückner Maschinenbau GmbH", "Kastner & Söhne KG", "ambiguous", "王小明", "block voicemail",
        "allow-list", "blacklist-prefix", "-31987456",
    ):  # fmt: skip
        assert seen in result.stdout
