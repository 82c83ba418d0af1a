"""What the phones of one PBX do, from what it tells of devices, hints and queues: pure.

Invariant: `known` is what follows from the last word on each device, hint and queue member, in whatever order and how
often they are told; nothing is remembered of what is no phone of ours.

    free         idle, or nobody knows
    unreachable  its phone is not registered
    ringing, busy
    paused       its agent pauses in every queue they are in
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

FREE, RINGING, BUSY, UNREACHABLE, PAUSED = "free", "ringing", "busy", "unreachable", "paused"

_RANK: Final = (FREE, UNREACHABLE, RINGING, BUSY, PAUSED)  # the last that anything says is the one

# DeviceStateChange's State (devicestate.c) …
_DEVICE: Final = {
    "INUSE": BUSY,
    "BUSY": BUSY,
    "RINGINUSE": BUSY,
    "ONHOLD": BUSY,
    "RINGING": RINGING,
    "UNAVAILABLE": UNREACHABLE,
    "INVALID": UNREACHABLE,
}
# … and ExtensionStatus's StatusText (pbx.c). A hint may cover several phones: that one of them is away says little.
_HINT: Final = {
    "inuse": BUSY,
    "busy": BUSY,
    "inuse&ringing": BUSY,
    "inuse&hold": BUSY,
    "hold": BUSY,
    "ringing": RINGING,
}
_YES: Final = frozenset({"1", "yes", "true", "on"})


class States:
    """`ours` gives the extension of an endpoint of ours, '' for others; `technology` is that of our phones: PJSIP."""

    def __init__(self, ours: Callable[[str], str], technology: str) -> None:
        self._ours = ours
        self._prefix = f"{technology}/".lower()
        self._devices: dict[str, str] = {}
        self._hints: dict[str, str] = {}
        self._pauses: dict[str, dict[str, bool]] = {}  # by extension: of each queue they are in
        self.known: dict[str, str] = {}

    def event(self, event: Mapping[str, str]) -> str:
        """Take one event or item of a list; return the extension whose state changed, ''."""
        match event.get("Event"):
            case "DeviceStateChange":
                extension = self._device(event)
            case "ExtensionStatus":
                extension = self._hint(event)
            case "QueueMember" | "QueueMemberStatus" | "QueueMemberAdded" | "QueueMemberPause":
                extension = self._member(event)
            case "QueueMemberRemoved":
                extension = self._removed(event)
            case _:
                return ""
        if not extension:
            return ""
        state = self._state(extension)
        if self.known.get(extension) == state:
            return ""
        self.known[extension] = state
        return extension

    def begin(self) -> None:
        """Forget all: a whole list comes."""
        self._devices.clear()
        self._hints.clear()
        self._pauses.clear()
        self.known.clear()

    def _state(self, extension: str) -> str:
        pauses = self._pauses.get(extension, {})
        said = (
            self._devices.get(extension, FREE),
            self._hints.get(extension, FREE),
            PAUSED if pauses and all(pauses.values()) else FREE,
        )
        return max(said, key=_RANK.index)

    def _device(self, event: Mapping[str, str]) -> str:
        device = event.get("Device", "")
        extension = self._extension(device)
        if extension:
            self._devices[extension] = _DEVICE.get(event.get("State", ""), FREE)
        return extension

    def _hint(self, event: Mapping[str, str]) -> str:
        extension = self._ours(event.get("Exten", ""))
        if extension:
            self._hints[extension] = _HINT.get(event.get("StatusText", "").lower(), FREE)
        return extension

    def _member(self, event: Mapping[str, str]) -> str:
        """Take QueueMember (of a list: Location, Name), QueueMemberStatus, …Pause and …Added (Interface)."""
        extension = self._member_of(event)
        if extension and event.get("Queue"):
            pauses = self._pauses.setdefault(extension, {})
            pauses[event["Queue"]] = event.get("Paused", "").lower() in _YES
        return extension

    def _removed(self, event: Mapping[str, str]) -> str:
        extension = self._member_of(event)
        pauses = self._pauses.get(extension, {})
        pauses.pop(event.get("Queue", ""), None)
        if not pauses:
            self._pauses.pop(extension, None)
        return extension

    def _member_of(self, event: Mapping[str, str]) -> str:
        """Return whose phone a queue rings; FreePBX's are called Local/101@from-queue/n."""
        for header in ("StateInterface", "Interface", "Location"):
            if extension := self._extension(event.get(header, "")):
                return extension
        interface = event.get("Interface") or event.get("Location", "")
        technology, _, rest = interface.partition("/")
        return self._ours(rest.partition("@")[0]) if technology.lower() == "local" and "@" in rest else ""

    def _extension(self, device: str) -> str:
        if not device.lower().startswith(self._prefix):
            return ""
        return self._ours(device[len(self._prefix) :])
