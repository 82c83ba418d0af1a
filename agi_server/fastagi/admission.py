"""Which peers may connect, and how many connections they may have."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from agi_server.settings import FastAgi

_REMEMBERED = 4096  # addresses


class Admission:
    """Counts the connections let in, of each address and in all."""

    def __init__(self, settings: FastAgi) -> None:
        self._settings = settings
        self._allowed: dict[str, bool] = {}
        self._open: dict[str, int] = {}
        self._total = 0

    def enter(self, address: str) -> tuple[str, str] | None:
        """Count a connection, or return why it may not come in: `refused` or `full`, and a sentence."""
        allowed = self._allowed.get(address)
        if allowed is None:
            if len(self._allowed) >= _REMEMBERED:
                self._allowed.clear()
            allowed = self._allowed[address] = self._is_peer(address)
        if not allowed:
            return "refused", f"{address or 'a peer without address'} is not in fastagi.peers"
        count = self._open.get(address, 0)
        if count >= self._settings.connections_per_peer:
            return "full", f"{address} has {count} connections open (fastagi.connections_per_peer)"
        if self._total >= self._settings.connections:
            return "full", f"{self._total} connections are open (fastagi.connections)"
        self._open[address] = count + 1
        self._total += 1
        return None

    def leave(self, address: str) -> None:
        """Count a connection no more."""
        self._total -= 1
        if self._open[address] == 1:
            del self._open[address]
        else:
            self._open[address] -= 1

    def _is_peer(self, address: str) -> bool:
        try:
            peer = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped  # an IPv4 peer on a socket that listens for both
        return any(peer in network for network in self._settings.peers)
