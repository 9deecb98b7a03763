"""IKE SAs set up without a Child SA: the first one comes by CREATE_CHILD_SA, with keys of its own (RFC 6023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.connection import Childless, Connection
from ikeclone.errors import InvalidSyntax, NoProposalChosen
from ikeclone.ike.create_child import CreateChild
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.negotiation import Keyed
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify, Sa

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


def announce(tunnels: tuple[Tunnel, ...]) -> Payloads:
    """What the responder of IKE_SA_INIT says: the initiator may leave the Child SA out, of one of these connections."""
    allowed = any(tunnel.connection.childless is not Childless.NEVER for tunnel in tunnels)
    return (Notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED),) if allowed else ()


def agreed(tunnel: Tunnel, message: Message) -> bool:
    """Whether the initiator leaves it out; raises NoProposalChosen if it must and the responder does not know how."""
    able = message.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None
    wanted = tunnel.connection.childless
    if not able and (tunnel.ike_only or wanted is Childless.FORCE):
        asked = "up --ike" if tunnel.ike_only else "childless=force"
        raise NoProposalChosen(f"the peer takes no IKE SA without a Child SA, as {asked} wants it")
    return able and (tunnel.ike_only or wanted in (Childless.PREFER, Childless.FORCE))


def check(connection: Connection, request: Message) -> None:
    """See that an IKE_AUTH request has a Child SA or none, as it may; raises InvalidSyntax (RFC 6023 section 3)."""
    asks = request.first(Sa) is not None
    if not asks and connection.childless is Childless.NEVER:
        raise InvalidSyntax("the peer asks for no Child SA, and childless=never")
    if asks and connection.childless is Childless.FORCE:
        raise InvalidSyntax("the peer asks for a Child SA in IKE_AUTH, and childless=force")


class OpenFirst(CreateChild):
    """Open the first Child SA of an IKE SA that was set up without; then that can replace a former one."""

    def _is_of_use(self, now: float) -> bool:
        fallback = self._clones.fallback
        return fallback is None or fallback.inbound_spi not in self.sa.children

    def _opened(self, keyed: Keyed, now: float) -> None:
        super()._opened(keyed, now)
        self._tunnel.reauth.take_over(self.sa, now)
