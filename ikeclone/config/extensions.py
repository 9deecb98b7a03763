"""Keywords of what IKEv2 can do beyond RFC 7296."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator, model_validator

from ikeclone.config import values
from ikeclone.config.keyworded import Keyworded
from ikeclone.connection import Childless, Choice, Redirection
from ikeclone.selectors import IPAddress

Gateways = Annotated[tuple[IPAddress, ...], PlainValidator(values.addresses)]
YesNoAuto = Annotated[Choice, PlainValidator(values.one_of({choice.value: choice for choice in Choice}))]


def _gateways_or_any(text: str) -> tuple[IPAddress, ...]:
    return () if text.lower() == "%any" else values.addresses(text)


class RedirectKeywords(Keyworded):
    """Those of `config setup` for all peers."""

    global_redirect: YesNoAuto = Choice.NO
    global_redirect_to: Gateways = ()

    @model_validator(mode="after")
    def _check_redirect(self) -> RedirectKeywords:
        if self.global_redirect is not Choice.NO and not self.global_redirect_to:
            raise ValueError("global-redirect= needs global-redirect-to=, the gateway to send peers to")
        return self

    def redirection(self) -> Redirection:
        """Where all peers are sent before IKE_AUTH."""
        return Redirection(send=self.global_redirect, to=self.global_redirect_to)


class ExtensionKeywords(Keyworded):
    """Those of a conn; `accept_redirect_to` empty is anywhere."""

    childless: Annotated[Childless, PlainValidator(values.one_of({each.value: each for each in Childless}))] = (
        Childless.ALLOW
    )
    accept_redirect: Annotated[bool, PlainValidator(values.yes_no)] = False
    accept_redirect_to: Annotated[tuple[IPAddress, ...], PlainValidator(_gateways_or_any)] = ()
    send_redirect: YesNoAuto = Choice.NO
    redirect_to: Gateways = ()
    session_resumption: Annotated[bool, PlainValidator(values.yes_no)] = False

    @model_validator(mode="after")
    def _check_redirect(self) -> ExtensionKeywords:
        if self.send_redirect is not Choice.NO and not self.redirect_to:
            raise ValueError("send-redirect= needs redirect-to=, the gateway to send peers to")
        return self

    def redirection(self) -> Redirection:
        """What they say of RFC 5685."""
        return Redirection(self.accept_redirect, self.accept_redirect_to, self.send_redirect, self.redirect_to)
