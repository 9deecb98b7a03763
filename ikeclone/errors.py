"""The one tree of exceptions: the peer's faults (answered with a notify) and ours (configuration, system, bugs)."""

from __future__ import annotations

from ikeclone.numbers import NotifyType


class IkecloneError(Exception):
    """Base of every exception that ikeclone raises on purpose."""


class PeerError(IkecloneError):
    """The peer sent something that cannot be accepted; `notify` is the answer to it (RFC 7296 section 3.10.1)."""

    notify: NotifyType

    def __init__(self, reason: str = "", data: bytes = b"") -> None:
        super().__init__(reason or self.notify.name)
        self.data = data


class InvalidSyntax(PeerError):
    """A message, payload or field that is out of shape."""

    notify = NotifyType.INVALID_SYNTAX


class InvalidMajorVersion(PeerError):
    """A message of another major version of IKE."""

    notify = NotifyType.INVALID_MAJOR_VERSION


class UnsupportedCriticalPayload(PeerError):
    """An unknown payload with the critical bit set; `data` is its type, one octet."""

    notify = NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD


class NoProposalChosen(PeerError):
    """No offered proposal is acceptable."""

    notify = NotifyType.NO_PROPOSAL_CHOSEN


class InvalidKePayload(PeerError):
    """Another key exchange method is wanted; `data` is its number, two octets."""

    notify = NotifyType.INVALID_KE_PAYLOAD


class AuthenticationFailed(PeerError):
    """The peer did not prove its identity."""

    notify = NotifyType.AUTHENTICATION_FAILED


class TsUnacceptable(PeerError):
    """No offered traffic selector is acceptable."""

    notify = NotifyType.TS_UNACCEPTABLE


class SinglePairRequired(PeerError):
    """Only traffic selectors of a single pair of addresses are accepted (RFC 7296 section 2.9)."""

    notify = NotifyType.SINGLE_PAIR_REQUIRED


class UnacceptableAddresses(PeerError):
    """The peer's packets may not come from there (RFC 4555 section 3.5)."""

    notify = NotifyType.UNACCEPTABLE_ADDRESSES


class UnexpectedNatDetected(PeerError):
    """A NAT has changed addresses that the peer says none changes (RFC 4555 section 3.9)."""

    notify = NotifyType.UNEXPECTED_NAT_DETECTED


class InternalAddressFailure(PeerError):
    """There is no address inside the tunnel for the one that asks for it (RFC 7296 section 3.15.4)."""

    notify = NotifyType.INTERNAL_ADDRESS_FAILURE


class FailedCpRequired(PeerError):
    """The peer has to ask for an address inside the tunnel, and has not (RFC 7296 section 2.19)."""

    notify = NotifyType.FAILED_CP_REQUIRED


class TemporaryFailure(PeerError):
    """The request collides with an exchange in progress; the peer may try again (RFC 7296 section 2.25)."""

    notify = NotifyType.TEMPORARY_FAILURE


class ChildSaNotFound(PeerError):
    """The Child SA to be rekeyed does not exist."""

    notify = NotifyType.CHILD_SA_NOT_FOUND


class StateNotFound(PeerError):
    """The additional key exchange belongs to nothing that is under way (RFC 9370 section 2.2.4)."""

    notify = NotifyType.STATE_NOT_FOUND


class NoAdditionalSas(PeerError):
    """No further Child SA is accepted on this IKE SA."""

    notify = NotifyType.NO_ADDITIONAL_SAS


class TsMaxQueue(PeerError):
    """No further Child SA is accepted for these traffic selectors (RFC 9611 section 5)."""

    notify = NotifyType.TS_MAX_QUEUE


class LocalError(IkecloneError):
    """A fault on this side: configuration, system or usage. The text says what to do about it."""


class ConfigError(LocalError):
    """A mistake in a configuration file; `file` and `line` say where."""

    def __init__(self, reason: str, file: str = "", line: int = 0) -> None:
        super().__init__(f"{file}:{line}: {reason}" if file else reason)
        self.reason, self.file, self.line = reason, file, line


class BackendError(LocalError):
    """The data plane cannot do what it was asked."""


class ControlError(LocalError):
    """A command on the control socket cannot be carried out."""
