"""May this phone read the phone book?

Invariant: a phone gets in by its address (phonebook.peers) or by a token of the scope phonebook, which it sends as
`?token=…`, as the password of HTTP Basic or as a Bearer: whichever its settings have a field for.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from fastapi import Request

from agi_server.errors import AccessError
from agi_server.web.access import Actor, Needs, Scope, token_actor
from agi_server.web.phonebooks.question import parameters_of
from agi_server.web.services import services_of


class NeedsPhone(Needs):
    """`Needs` for phones: returns the actor, `phone:<address>` for one that needs no token. Raises AccessError."""

    async def __call__(self, request: Request) -> Actor:
        """Find out which phone asks."""
        host = request.client.host if request.client is not None else ""
        if _is_in(host, services_of(request).settings.phonebook.peers):
            return Actor(who=f"phone:{host}", scopes=frozenset({Scope.PHONEBOOK}))
        secret = parameters_of(request).get("token", "")
        if not secret:
            return await self._of_header(request)
        actor = await token_actor(request, secret)
        if Scope.PHONEBOOK not in actor.scopes:
            raise AccessError(f"{actor.who} may not: this needs the scope {Scope.PHONEBOOK}", known=True)
        return actor

    async def _of_header(self, request: Request) -> Actor:
        try:
            return await super().__call__(request)
        except AccessError as error:
            if error.known or "authorization" in request.headers:
                raise
            raise AccessError(
                "this phone sent no token: give it an address with ?token=..., or a user name and the token as its "
                "password, or name its network in phonebook.peers",
                known=False,
            ) from None


PHONE = NeedsPhone(Scope.PHONEBOOK)


def _is_in(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether a client's address is in one of these; an IPv4 address may come as ::ffff:192.0.2.1."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
