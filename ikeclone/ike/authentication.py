"""Ways to authenticate: each proves who one side is, or checks the other's proof (RFC 7296 section 2.15)."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import ClassVar

from ikeclone.crypto import signature
from ikeclone.crypto.keys import psk_auth, signed_octets
from ikeclone.crypto.prf import prf
from ikeclone.crypto.signature import PrivateKey, PublicKey, SignaturePolicy
from ikeclone.errors import AuthenticationFailed
from ikeclone.numbers import AuthMethod, HashAlgorithm, Prf
from ikeclone.wire.payloads import Auth


@dataclass(frozen=True, slots=True)
class Covered:
    """What the AUTH payload of one side covers, as `signed_octets` has it."""

    prf: Prf
    message: bytes
    nonce: bytes
    sk_p: bytes = field(repr=False)
    identity: bytes
    intermediate: bytes = b""

    def octets(self) -> bytes:
        """What a signature signs."""
        return signed_octets(self.prf, self.message, self.nonce, self.sk_p, self.identity, self.intermediate)

    def mac(self, key: bytes) -> bytes:
        """What a shared key makes of it."""
        return psk_auth(self.prf, key, self.message, self.nonce, self.sk_p, self.identity, self.intermediate)


class Prover(ABC):
    """Our way to prove who we are."""

    @abstractmethod
    def prove(self, covered: Covered, hashes: Collection[HashAlgorithm] | None) -> Auth:
        """The AUTH payload; `hashes` are those that the peer announced, None if it did not.

        Raises LocalError if there is no way that suits the peer.
        """


class Checker(ABC):
    """The peer's way to prove who it is."""

    @abstractmethod
    def check(self, auth: Auth, covered: Covered) -> None:
        """Raises AuthenticationFailed unless the payload proves it."""


@dataclass(frozen=True, slots=True)
class SharedKey(Prover, Checker):
    """A preshared key. `doubt` is what to ask oneself when the other side has another."""

    key: bytes = field(repr=False)
    doubt: ClassVar[str] = "do both sides have the same preshared key?"

    def prove(self, covered: Covered, hashes: Collection[HashAlgorithm] | None) -> Auth:
        return Auth(AuthMethod.SHARED_KEY, covered.mac(self.key))

    def check(self, auth: Auth, covered: Covered) -> None:
        if auth.method is not AuthMethod.SHARED_KEY or not hmac.compare_digest(auth.data, covered.mac(self.key)):
            raise AuthenticationFailed(f"the peer's proof is wrong: {self.doubt}")


@dataclass(frozen=True, slots=True)
class EapKey(SharedKey):
    """A key that EAP has made; `then` sees to what is left to be seen to."""

    then: Callable[[], None]
    doubt: ClassVar[str] = "it is not made with the key of EAP"

    def check(self, auth: Auth, covered: Covered) -> None:
        SharedKey.check(self, auth, covered)
        self.then()


class Nobody(Prover, Checker):
    """No authentication: SK_pi or SK_pr, the prover's, serves as the key, which proves nothing (RFC 7619)."""

    def prove(self, covered: Covered, hashes: Collection[HashAlgorithm] | None) -> Auth:
        return Auth(AuthMethod.NULL, covered.mac(covered.sk_p))

    def check(self, auth: Auth, covered: Covered) -> None:
        if not hmac.compare_digest(auth.data, covered.mac(covered.sk_p)):
            raise AuthenticationFailed("the peer, which may be anyone, is not the one that sent IKE_SA_INIT")


@dataclass(slots=True)
class Resumed(Prover, Checker):
    """The SK_pi or SK_pr of a resumed IKE SA, which only the ends of the former one can know.

    It proves that with all that a signature covers (RFC 5723 section 4.3.3). Libreswan takes the <message octets> of
    that section for the message alone and does without the nonce and the identity, which is `short`: no weaker, as
    SK_px depends on the nonces and protects the identity. Either is accepted, and answered in kind.
    """

    short: bool

    def prove(self, covered: Covered, hashes: Collection[HashAlgorithm] | None) -> Auth:
        return Auth(AuthMethod.SHARED_KEY, _resumed_mac(covered, short=self.short))

    def check(self, auth: Auth, covered: Covered) -> None:
        for short in (False, True):
            if hmac.compare_digest(auth.data, _resumed_mac(covered, short=short)):
                self.short = short
                break
        else:
            raise AuthenticationFailed("the peer does not have the keys of the IKE SA that it resumes")


def _resumed_mac(covered: Covered, *, short: bool) -> bytes:
    return prf(covered.prf, covered.sk_p, covered.message if short else covered.octets())


@dataclass(frozen=True, slots=True)
class Signer(Prover):
    """A signature with our private key."""

    key: PrivateKey = field(repr=False)
    policy: SignaturePolicy

    def prove(self, covered: Covered, hashes: Collection[HashAlgorithm] | None) -> Auth:
        return Auth(*signature.sign(self.key, covered.octets(), hashes, self.policy))


@dataclass(frozen=True, slots=True)
class Verifier(Checker):
    """A signature that the peer's public key verifies; `then` sees to what is left to be seen to."""

    key: PublicKey
    policy: SignaturePolicy
    then: Callable[[], None]

    def check(self, auth: Auth, covered: Covered) -> None:
        signature.verify(self.key, auth.method, auth.data, covered.octets(), self.policy)
        self.then()
