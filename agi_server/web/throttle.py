"""Guessing passwords takes ever longer.

Invariant: a try counts before its password is looked at, so that many at once gain nothing; memory is bounded; and
nobody is locked out from an address of their own by what others try elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

FREE = 5  # tries for a name from an address
FREE_ADDRESS = 20  # tries from an address, whatever the names
LONGEST = 900.0  # seconds between two tries, at most
FORGET = 3600.0  # seconds without a try, after which the next is the first again
MOST = 10_000  # names and addresses kept; the longest unused go first

Key = tuple[str, ...]


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: float = 0.0

    def pause(self, free: int, now: float) -> float:
        """Return how long to wait for the next try, in s."""
        if self.count < free:
            return 0.0
        least = min(2.0 ** min(self.count - free, 20), LONGEST)
        return min(max(self.last + least - now, 0.0), LONGEST)


class Throttle:
    """Lives on the event loop of the front process; `now` is in seconds and grows."""

    def __init__(self) -> None:
        self._tries: OrderedDict[Key, _Tries] = OrderedDict()

    def take(self, name: str, address: str, now: float) -> float:
        """Count a try to log in and return 0; or count nothing and return for how many seconds there is none."""
        both, alone = _keys(name, address)
        pause = max(self._known(both, now).pause(FREE, now), self._known(alone, now).pause(FREE_ADDRESS, now))
        if pause == 0.0:
            self._count(both, now)
            self._count(alone, now)
        return pause

    def succeeded(self, name: str, address: str) -> None:
        """Forget the tries for this name from there, and that the last came from this address.

        The address's other tries stay: a good log-in of one's own does not make guessing others' cheaper.
        """
        both, alone = _keys(name, address)
        self._tries.pop(both, None)
        if alone in self._tries:
            self._tries[alone].count -= 1

    def __len__(self) -> int:
        return len(self._tries)

    def _known(self, key: Key, now: float) -> _Tries:
        tries = self._tries.get(key)
        return _Tries() if tries is None or now - tries.last >= FORGET else tries

    def _count(self, key: Key, now: float) -> None:
        self._tries[key] = _Tries(self._known(key, now).count + 1, now)
        self._tries.move_to_end(key)
        if len(self._tries) > MOST:
            self._tries.popitem(last=False)


def _keys(name: str, address: str) -> tuple[Key, Key]:
    network = _network(address)
    return (name.strip()[:200], network), (network,)


def _network(address: str) -> str:
    """Return what stands for an address: of IPv6 the /64, for that is what one customer has."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or IPv6Address(int(ip) >> 64 << 64))
    return str(ip)
