"""The protected messages of an IKE SA: sealed under its keys, opened, and put together from fragments."""

from __future__ import annotations

from ikeclone.crypto.cipher import IntegrityError
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import InvalidSyntax
from ikeclone.ike.actions import IkeKeyed
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.fragments import Reassembly
from ikeclone.ike.host import Host
from ikeclone.ike.protect import Protection
from ikeclone.ike.transcript import Transcript
from ikeclone.numbers import ExchangeType, PayloadType
from ikeclone.wire.message import Header, Message, build_payloads
from ikeclone.wire.payloads import Encrypted, EncryptedFragment

# Octets that every way to a peer lets through: 576 of IPv4, less its header, that of UDP and the marker after it.
NARROW = 576 - 20 - 8 - 4


class Channel:
    """Both directions. With `fragmentation` the peer takes messages in fragments (RFC 7383), of `limit` octets at most.

    None is no limit.
    """

    def __init__(
        self,
        host: Host,
        spis: tuple[bytes, bytes],
        suite: IkeSuite,
        keys: IkeKeys,
        *,
        initiator: bool,
        fragmentation: bool,
    ) -> None:
        self._host, self._spis, self._suite, self._initiator = host, spis, suite, initiator
        self.limit = host.settings.fragment_size if fragmentation else None
        self.transcript = Transcript()
        self._fragments: dict[int, Reassembly] = {}
        self._former: Protection | None = None
        self._use(keys)

    def _use(self, keys: IkeKeys) -> None:
        self._keys, self._protection = keys, Protection(self._suite, keys, self._initiator, self._host.random)
        if self._host.settings.key_log:
            self._host.emit(IkeKeyed(*self._spis, self._suite, keys))

    def change_keys(self, keys: IkeKeys) -> None:
        """Use other keys from now on; a request under the old ones may still be repeated."""
        self._former = self._protection
        self._use(keys)

    def seal(self, header: Header, payloads: Payloads) -> tuple[bytes, ...]:
        """The datagrams of a message of ours."""
        self._transcribe(header, *build_payloads(payloads))
        return self.seal_again(header, payloads)

    def seal_again(self, header: Header, payloads: Payloads) -> tuple[bytes, ...]:
        """The datagrams of a message that was sealed before, when the limit was another."""
        return self._protection.seal(header, payloads, self.limit)

    def narrow(self, largest: int) -> None:
        """Send no more at once than this many octets, or than every way lets through if that is more."""
        if self.limit is not None:
            self.limit = min(self.limit, max(largest, NARROW))

    def receive(self, message: Message, datagram: bytes, window: int) -> tuple[PayloadType, bytes] | None:
        """Open a message that is taken once, of a peer that may have `window` of them under way."""
        opened = self.open(message, datagram, window)
        if opened is not None:
            self._transcribe(message.header, *opened)
        return opened

    def open(self, message: Message, datagram: bytes, window: int = 1) -> tuple[PayloadType, bytes] | None:
        """The first payload type and the plaintext, None while fragments are missing or when it is not authentic."""
        payload = _sealed(message)
        if payload is None:
            self._host.count("unprotected message")
            return None
        try:
            plaintext = self._protection.open(payload, datagram)
            if isinstance(payload, EncryptedFragment):
                return self._reassemble(message.header, payload, plaintext, len(datagram), window)
        except IntegrityError:
            self._host.count("integrity check failed")
        except InvalidSyntax:
            self._host.count("bad fragment")
        else:
            return payload.first, plaintext
        return None

    def repeats(self, message: Message, datagram: bytes) -> bool:
        """Whether this calls for the response to a request again; its answer may have been what changed the keys."""
        if (payload := _sealed(message)) is None:
            self._host.count("unprotected message")
            return False
        protections = (self._protection,) if self._former is None else (self._protection, self._former)
        if any(protection.opens(payload, datagram) for protection in protections):
            # One answer for all the fragments of a request (RFC 7383 section 2.6.1).
            return isinstance(payload, Encrypted) or payload.number == 1
        self._host.count("integrity check failed")
        return False

    def _reassemble(
        self, header: Header, payload: EncryptedFragment, part: bytes, size: int, window: int
    ) -> tuple[PayloadType, bytes] | None:
        # Requests and responses have message IDs of their own: keep them apart by the sign.
        key = ~header.message_id if header.response else header.message_id
        if key not in self._fragments and len(self._fragments) > window:
            del self._fragments[next(iter(self._fragments))]
        if payload.number < payload.total:
            # The peer may have found out that the way takes no larger ones.
            self.narrow(size)
        parts = self._fragments.setdefault(key, Reassembly())
        whole = parts.add(key, payload.number, payload.total, payload.first, part)
        if whole is None:
            return None
        del self._fragments[key]
        return parts.first, whole

    def _transcribe(self, header: Header, first: PayloadType, plaintext: bytes) -> None:
        if header.exchange is ExchangeType.IKE_INTERMEDIATE:
            self.transcript.add(self._suite.prf, self._keys, header, first, plaintext)


def _sealed(message: Message) -> Encrypted | EncryptedFragment | None:
    payload = message.payloads[-1] if message.payloads else None
    return payload if isinstance(payload, Encrypted | EncryptedFragment) else None
