"""What an EAP method is to either side: a small state machine over the data of its packets, without their headers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ikeclone.numbers import EapType


class PeerMethod(ABC):
    """The side that asks to be let in. `msk` is the key, 64 octets, once both sides have proven themselves.

    `refused` is why the server does not let us in, as far as it says.
    """

    type: ClassVar[EapType]
    msk: bytes | None = None
    refused: str = "the EAP server refuses us"

    @abstractmethod
    def respond(self, data: bytes) -> bytes:
        """The data of the response to a request; raises AuthenticationFailed or InvalidSyntax."""


class ServerMethod(ABC):
    """The side that lets in. `msk` and `user`, the name that was proven, are there when `proceed` has ended."""

    type: ClassVar[EapType]
    msk: bytes | None = None
    user: bytes = b""

    @abstractmethod
    def start(self, identifier: int) -> bytes:
        """The data of the first request; `identifier` is that of its packet."""

    @abstractmethod
    def proceed(self, data: bytes) -> bytes | None:
        """The data of the next request, None when the peer is let in.

        Raises AuthenticationFailed when it is not, InvalidSyntax.
        """
