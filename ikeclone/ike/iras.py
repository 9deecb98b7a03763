"""The gateway for road warriors, IRAS in RFC 7296 section 2.19: leases an address inside the tunnel to the peer."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ikeclone.connection import Pool
from ikeclone.errors import FailedCpRequired, InternalAddressFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads
from ikeclone.numbers import CfgType
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import CfgAttribute, Configuration

if TYPE_CHECKING:
    from ikeclone.ike.narrowing import Selectors
    from ikeclone.ike.tunnel import Tunnel


class Iras:
    """What a connection with pools leases to its peer, for as long as that has an IKE SA."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.leased: dict[Pool, IPAddress] = {}

    @property
    def _pools(self) -> tuple[Pool, ...]:
        return self._tunnel.connection.remote.pools

    def answer(self, message: Message) -> Payloads:
        """Lease what IKE_AUTH asks for: from now on it is all the traffic that the peer may have.

        Raises FailedCpRequired when it asks for nothing, InternalAddressFailure when there is nothing, InvalidSyntax.
        """
        if not self._pools:
            return ()
        request = _request(message)
        if request is None:
            raise FailedCpRequired("the peer does not ask for an address")
        for pool in self._pools:
            for wanted in request.internal_addresses(pool.version)[:1]:
                self._lease(pool, wanted)
        if not self.leased:
            raise InternalAddressFailure(f"no address is free in {', '.join(map(str, self._pools))} for the peer")
        self._permit(tuple(TrafficSelector.of(ip_network(address)) for address in self.leased.values()))
        return (Configuration(CfgType.REPLY, self._attributes(request)),)

    def inform(self, message: Message) -> Payloads:
        """Answer a request in INFORMATIONAL, where a peer may catch up on what it left out of IKE_AUTH."""
        if _request(message) is None:
            return ()
        return self.answer(message) or (Configuration(CfgType.REPLY),)

    def check(self) -> None:
        """Raises FailedCpRequired when the peer ought to have an address and has none."""
        if self._pools and not self.leased:
            raise FailedCpRequired("the peer has not asked for an address")

    def leases(self, message: Message) -> bool:
        """Whether IKE_AUTH asks for an address that the peer has already."""
        request = _request(message)
        if request is None:
            return False
        return any(address in request.internal_addresses(pool.version) for pool, address in self.leased.items())

    def release(self) -> None:
        """The peer is gone."""
        for pool, address in self.leased.items():
            self._tunnel.host.pools[pool].give_back(address)
        if self.leased:
            self.leased.clear()
            self._permit(tuple(pool.selector for pool in self._pools))

    def _lease(self, pool: Pool, wanted: IPAddress | None) -> None:
        if pool in self.leased:
            return
        address = self._tunnel.host.pools[pool].take(self._tunnel.peer, wanted)
        if address is None:
            self._tunnel.note(Kind.FAILED, f"all {pool.size} addresses of {pool} are leased")
            return
        self.leased[pool] = address
        self._tunnel.note(Kind.PROGRESS, f"leasing {address} to {self._tunnel.peer}")

    def _permit(self, selectors: Selectors) -> None:
        connection = self._tunnel.connection
        self._tunnel.connection = replace(connection, remote=replace(connection.remote, selectors=selectors))

    def _attributes(self, request: Configuration) -> tuple[CfgAttribute, ...]:
        """The address of each version that is asked for and leased, and where names are known."""
        leased = [each for each in self.leased.values() if request.internal_addresses(each.version)]
        connection = self._tunnel.connection
        # Domains are for those only that ask for them (RFC 8598 section 3.2).
        domains = connection.domains if request.internal_domains() else ()
        return (
            *(CfgAttribute.internal_address(each.version, each) for each in leased),
            *(CfgAttribute.internal_dns(each.version, each) for each in connection.dns),
            *map(CfgAttribute.internal_domain, domains),
        )


def _request(message: Message) -> Configuration | None:
    return next((each for each in message.all(Configuration) if each.type is CfgType.REQUEST), None)
