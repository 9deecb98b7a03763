"""The algorithms that a chosen proposal stands for."""

from __future__ import annotations

from dataclasses import dataclass

from ikeclone.backend import EspSuite
from ikeclone.crypto.algorithms import CIPHERS
from ikeclone.errors import NoProposalChosen
from ikeclone.numbers import Encr, Esn, Integ, KeMethod, Prf, TransformType
from ikeclone.wire.payloads import Proposal, Transform


@dataclass(frozen=True, slots=True)
class IkeSuite:
    """The algorithms of an IKE SA; the key length is in bits, integrity is NONE with an AEAD.

    `additional` are the key exchanges that follow the first one (RFC 9370).
    """

    encryption: Encr
    key_bits: int
    integrity: Integ
    prf: Prf
    ke: KeMethod
    additional: tuple[KeMethod, ...] = ()

    @classmethod
    def of(cls, proposal: Proposal) -> IkeSuite:
        """The suite of a chosen proposal; raises NoProposalChosen if its cipher, PRF or KE is missing."""
        encryption = _required(proposal, TransformType.ENCR)
        prf = Prf(_required(proposal, TransformType.PRF).id)
        ke = KeMethod(_required(proposal, TransformType.KE).id)
        return cls(Encr(encryption.id), _key_bits(encryption), _integrity(proposal), prf, ke, additional_kes(proposal))

    def __str__(self) -> str:
        integrity = "" if self.integrity == Integ.NONE else f"/{self.integrity.name}"
        kes = "+".join(method.name for method in (self.ke, *self.additional))
        return f"{self.encryption.name}_{self.key_bits}{integrity}/{self.prf.name}/{kes}"


def esp_suite(proposal: Proposal) -> EspSuite:
    """The suite of a Child SA's chosen proposal; raises NoProposalChosen if it has no cipher."""
    encryption = _required(proposal, TransformType.ENCR)
    esn = _first(proposal, TransformType.ESN)
    return EspSuite(
        Encr(encryption.id),
        _key_bits(encryption),
        _integrity(proposal),
        esn is not None and esn.id == Esn.YES,
    )


def ke_of(proposal: Proposal) -> KeMethod:
    """The key exchange method of a chosen proposal, NONE if it has none."""
    ke = _first(proposal, TransformType.KE)
    return KeMethod.NONE if ke is None else KeMethod(ke.id)


def additional_kes(proposal: Proposal) -> tuple[KeMethod, ...]:
    """The additional key exchanges of a chosen proposal in their order (RFC 9370 section 2.2.1), without NONEs."""
    kinds = range(TransformType.ADDKE1, TransformType.ADDKE7 + 1)
    chosen = (_first(proposal, TransformType(kind)) for kind in kinds)
    return tuple(KeMethod(transform.id) for transform in chosen if transform and transform.id != KeMethod.NONE)


def _first(proposal: Proposal, kind: TransformType) -> Transform | None:
    return next(iter(proposal.of_type(kind)), None)


def _required(proposal: Proposal, kind: TransformType) -> Transform:
    transform = _first(proposal, kind)
    if transform is None:
        raise NoProposalChosen(f"a proposal without {kind.name}")
    return transform


def _integrity(proposal: Proposal) -> Integ:
    integrity = _first(proposal, TransformType.INTEG)
    return Integ.NONE if integrity is None else Integ(integrity.id)


def _key_bits(encryption: Transform) -> int:
    return encryption.key_bits or CIPHERS[Encr(encryption.id)].fixed_bits
