"""What the kernel of this network namespace can do, tried out rather than guessed from its version."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final

from ikeclone.backend import BackendError, ChildSa, Encr, EspKeys, EspSuite, Integ, Path
from ikeclone_xfrm.errors import NotPermitted, NotSupported, NotThere, XfrmError
from ikeclone_xfrm.migration import migrates
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import REQID_BASE
from ikeclone_xfrm.states import Kernel, State, identity, outbound
from ikeclone_xfrm.xfrm import AsyncXfrm

_NOWHERE: Final = IPv4Address("127.0.0.1")  # for a state that no policy uses and no packet meets
_HINT: Final = "load the modules xfrm_user and esp4, or use another data plane with --backend esp"
_SUITES: Final = (
    (EspSuite(Encr.AES_GCM_16, 128, Integ.NONE), 20, 0),
    (EspSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA2_256_128), 16, 32),
    (EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE), 36, 0),
)


async def probe() -> Kernel:
    """Make a state for a CPU and look at what became of it.

    Raises BackendError, with the reason, when the kernel cannot do ESP or does not let us.
    """
    try:
        xfrm = AsyncXfrm()
        await xfrm.bind()
    except OSError as error:
        raise BackendError(f"the kernel has no IPsec ({os.strerror(error.errno or 0)}): {_HINT}") from error
    try:
        return await _probe(xfrm)
    finally:
        xfrm.close()


async def _probe(xfrm: AsyncXfrm) -> Kernel:
    refusals: list[XfrmError] = []
    for suite, *sizes in _SUITES:
        try:
            return await _try(xfrm, suite, *sizes)
        except NotPermitted as error:
            raise BackendError("the kernel's IPsec is not for us: run as root or with CAP_NET_ADMIN") from error
        except NotSupported as error:
            refusals.append(error)
    raise BackendError(f"the kernel has no ESP ({refusals[0].text}): {_HINT}") from refusals[0]


async def _try(xfrm: AsyncXfrm, suite: EspSuite, encryption: int, integrity: int) -> Kernel:
    state = _throwaway(suite, encryption, integrity)
    await xfrm.change(Msg.NEWSA, state.fields, state.attributes)
    name = identity(_NOWHERE, state.fields["id"]["spi"])
    try:
        made = await xfrm.fetch(Msg.GETSA, name)
    finally:
        with suppress(NotThere):
            await xfrm.change(Msg.DELSA, name)
    # A kernel that does not know an attribute passes over it.
    directions, per_cpu = (made.get_attr(known) is not None for known in ("XFRMA_SA_DIR", "XFRMA_SA_PCPU"))
    return Kernel(directions, per_cpu, await migrates(xfrm, name))


def _throwaway(suite: EspSuite, encryption: int, integrity: int) -> State:
    keys = EspKeys(secrets.token_bytes(encryption), secrets.token_bytes(integrity))
    spi = secrets.randbelow(0xFFFF0000) + 0x10000
    path = Path(_NOWHERE, _NOWHERE)
    sa = ChildSa("", 0, spi, spi, suite, keys, keys, (), (), path, udp_encapsulation=False)
    return outbound(sa, REQID_BASE, Kernel(directions=True, per_cpu=True))
