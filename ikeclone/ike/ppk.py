"""Postquantum preshared keys: who has which, and what IKE_SA_INIT and IKE_AUTH say of them (RFC 8784)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ikeclone.connection import Choice, Connection, Identity, Ppk
from ikeclone.crypto.keys import IkeKeys, mix_ppk
from ikeclone.errors import AuthenticationFailed, NoProposalChosen
from ikeclone.ike.proofs import Proofs
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Auth, Notify

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa
    from ikeclone.ike.tunnel import Tunnel

_FIXED = b"\x02"  # PPK_ID_FIXED: the name of a key that both sides have (RFC 8784 section 5.1)


def offer(tunnels: Iterable[Tunnel]) -> tuple[Notify, ...]:
    """USE_PPK, if one of these connections may have such a key."""
    wanted = any(_allowed(tunnel.connection, tunnel.endpoint.credentials.ppks) for tunnel in tunnels)
    return (Notify(NotifyType.USE_PPK),) if wanted else ()


def agreed(tunnels: Iterable[Tunnel], message: Message) -> bool:
    """Whether both sides say USE_PPK; raises NoProposalChosen if we do not go on without (`ppk=insist`)."""
    tunnels = tuple(tunnels)
    both = bool(offer(tunnels)) and message.notify(NotifyType.USE_PPK) is not None
    if not both and all(tunnel.connection.ppk is Choice.YES for tunnel in tunnels):
        raise NoProposalChosen("no postquantum preshared key, on which ppk=insist insists")
    return both


class Mixing:
    """The initiator's part: the first key that is for both identities, in the keys that IKE_AUTH proves."""

    def __init__(self, sa: IkeSa, proofs: Proofs, *, agreed: bool) -> None:
        self._plain, self._insists = sa.keys, proofs.insists_on_ppk
        ours = _fitting(proofs, proofs.wanted) if agreed else ()
        self._ppk = ours[0] if ours else None
        self.keys = sa.keys if self._ppk is None else mix_ppk(sa.suite.prf, self._ppk.key, sa.keys)
        if self._ppk is None and self._insists:
            raise NoProposalChosen("no postquantum preshared key for this peer")

    @property
    def optional(self) -> bool:
        """Whether a proof without the key is of use as well."""
        return self._ppk is not None and not self._insists

    def notifies(self, without: Auth | None) -> tuple[Notify, ...]:
        """The key's name; and the proof `without` it, for a peer that does not have it."""
        if self._ppk is None:
            return ()
        name = Notify(NotifyType.PPK_IDENTITY, _FIXED + self._ppk.name)
        return (name,) if without is None else (name, Notify(NotifyType.NO_PPK_AUTH, without.data))

    def settle(self, message: Message) -> IkeKeys:
        """The keys that the responder proves itself with; raises AuthenticationFailed if it must use the key."""
        if self._ppk is None or message.notify(NotifyType.PPK_IDENTITY) is not None:
            return self.keys
        if self._insists:
            raise AuthenticationFailed("the peer does not use the postquantum preshared key")
        return self._plain


def answer(
    sa: IkeSa, proofs: Proofs, peer: Identity, message: Message, *, agreed: bool
) -> tuple[IkeKeys, Auth, tuple[Notify, ...]]:
    """The responder's part: the keys to go on with, the peer's proof that goes with them, and what to say of it.

    Raises AuthenticationFailed if we insist on a key that the peer does not name.
    """
    auth, named = message.require(Auth), message.notify(NotifyType.PPK_IDENTITY) if agreed else None
    ours = (ppk for ppk in _fitting(proofs, peer) if named is not None and named.data == _FIXED + ppk.name)
    if (ppk := next(ours, None)) is not None:
        return mix_ppk(sa.suite.prf, ppk.key, sa.keys), auth, (Notify(NotifyType.PPK_IDENTITY),)
    if proofs.insists_on_ppk:
        raise AuthenticationFailed("the peer names no postquantum preshared key of ours, on which ppk=insist insists")
    without = message.notify(NotifyType.NO_PPK_AUTH)
    if named is not None and without is None:
        raise AuthenticationFailed("the peer insists on a postquantum preshared key that is not ours")
    return sa.keys, auth if named is None or without is None else Auth(auth.method, without.data), ()


def _fitting(proofs: Proofs, peer: Identity | None) -> tuple[Ppk, ...]:
    known = {proofs.me, peer}
    ppks = _allowed(proofs.connection, proofs.credentials.ppks)
    return tuple(ppk for ppk in ppks if known.issuperset(ppk.identities))


def _allowed(connection: Connection, ppks: Iterable[Ppk]) -> tuple[Ppk, ...]:
    """The keys that a connection may use (`ppk=`, `ppk-ids=`)."""
    if connection.ppk is Choice.NO:
        return ()
    return tuple(ppk for ppk in ppks if not connection.ppk_ids or ppk.name in connection.ppk_ids)
