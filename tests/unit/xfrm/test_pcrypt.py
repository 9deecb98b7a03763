"""Parallel ciphers: their names, the masks of their CPUs, and what is said where the kernel has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ikeclone.backend import BackendError, Encr, EspSuite, Integ, online_cpus
from ikeclone_xfrm import pcrypt
from ikeclone_xfrm.algorithms import cipher_name
from ikeclone_xfrm.crypto import Algorithm, CryptoMessage
from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.numbers import CryptoMsg
from ikeclone_xfrm.padata import Masks, mask
from ikeclone_xfrm.pcrypt import PASSED_OVER, PREFERRED, Pcrypt

from .samples import CBC, GCM

NAME = "seqiv(rfc4106(gcm(aes)))"
ONLINE = frozenset(online_cpus())


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        (GCM, NAME),
        (EspSuite(Encr.AES_CCM_16, 128, Integ.NONE), "seqiv(rfc4309(ccm(aes)))"),
        (EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE, esn=True), "seqiv(rfc7539esp(chacha20,poly1305))"),
        (CBC, "echainiv(authenc(hmac(sha256),cbc(aes)))"),
        (EspSuite(Encr.AES_CTR, 128, Integ.HMAC_SHA1_96, esn=True), "seqiv(authencesn(hmac(sha1),rfc3686(ctr(aes))))"),
    ],
)
def test_names(suite: EspSuite, name: str) -> None:
    assert cipher_name(suite) == name


def test_without_a_cipher_there_is_no_work_to_share() -> None:
    with pytest.raises(BackendError, match="the kernel cannot share the work of NULL_0-HMAC_SHA2_256_128 out"):
        cipher_name(EspSuite(Encr.NULL, 0, Integ.HMAC_SHA2_256_128))


def test_a_request_is_a_struct_crypto_user_alg() -> None:
    message = CryptoMessage()
    message.update({"driver": b"pcrypt(x)", "type": 3, "mask": 15})
    message["attrs"] = [("CRYPTOCFGA_PRIORITY_VAL", 9611)]
    message.encode()
    data = bytes(message.data)[16:]
    assert len(data) == 208 + 8
    assert data[64:73] == b"pcrypt(x)"
    assert data[192:208].hex() == "030000000f0000000000000000000000"
    assert data[208:].hex() == "080001008b250000"


@pytest.mark.parametrize(
    ("cpus", "text"),
    [
        (frozenset(), "00000000"),
        (frozenset({0, 3}), "00000009"),
        (frozenset({31, 32, 63}), "80000001,80000000"),
        (frozenset({64}), "00000001,00000000,00000000"),
    ],
)
def test_masks_as_the_kernel_writes_them(cpus: frozenset[int], text: str) -> None:
    assert mask(cpus) == text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What /sys/kernel/pcrypt looks like."""
    for way in ("pencrypt", "pdecrypt"):
        (tmp_path / way).mkdir()
        for name in ("parallel_cpumask", "serial_cpumask"):
            (tmp_path / way / name).write_text("ff\n")
    return tmp_path


def read(root: Path) -> set[tuple[str, str]]:
    return {(path.name, path.read_text().strip()) for path in root.glob("*/*")}


def test_masks_are_set_and_put_back(root: Path) -> None:
    masks = Masks(root)
    masks.set(frozenset({2, 3}), frozenset(range(4)))
    assert read(root) == {("parallel_cpumask", "0000000c"), ("serial_cpumask", "00000003")}
    masks.set(frozenset({1}), frozenset({1}))
    assert read(root) == {("parallel_cpumask", "00000002"), ("serial_cpumask", "00000002")}
    masks.restore()
    assert read(root) == {("parallel_cpumask", "ff"), ("serial_cpumask", "ff")}


def test_masks_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="parallel_cpumask cannot be read: No such file"):
        Masks(tmp_path).set(frozenset({0}), frozenset({0}))


class Kernel:
    """Algorithms by the names of their drivers; `refuses` makes none that are parallel, and `uses` the others."""

    def __init__(self) -> None:
        self.priorities = {f"{NAME[:-2]}-generic))": 100}
        self.refuses = self.uses = False

    async def __aenter__(self) -> Kernel:
        return self

    async def __aexit__(self, *error: object) -> None: ...
    async def bind(self) -> None: ...

    async def change(self, kind: CryptoMsg, driver: str, priority: int | None = None) -> None:
        if kind is CryptoMsg.NEWALG:
            if not self.refuses:
                self.priorities[f"pcrypt({NAME[:-2]}-generic)))"] = 200
            raise refused(kind.name, 2 if self.refuses else 11)
        if driver not in self.priorities:
            raise refused(kind.name, 2)
        if kind is CryptoMsg.DELALG:
            if self.uses:
                raise refused(kind.name, 16)
            del self.priorities[driver]
        elif priority is not None:
            self.priorities[driver] = priority

    def algorithms(self) -> list[Algorithm]:
        return [Algorithm(NAME, driver, priority, 1) for driver, priority in self.priorities.items()]

    def parallel(self) -> list[int]:
        return [priority for driver, priority in self.priorities.items() if driver.startswith("pcrypt(")]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path) -> Kernel:
    made = Kernel()
    (tmp_path / "crypto").touch()
    monkeypatch.setattr(pcrypt, "LIST", tmp_path / "crypto")
    monkeypatch.setattr(pcrypt, "AsyncCrypto", lambda: made)
    monkeypatch.setattr(pcrypt, "algorithms", made.algorithms)
    monkeypatch.setattr(pcrypt, "Masks", lambda: Masks(root))
    monkeypatch.setattr(pcrypt, "_ATTEMPTS", 2)
    return made


async def test_ours_is_preferred_only_while_a_state_is_made(kernel: Kernel, root: Path) -> None:
    ours = Pcrypt()
    await ours.start()
    for _ in range(2):
        async with ours.preferred("gw", GCM, frozenset()):
            assert kernel.parallel() == [PREFERRED]
        assert kernel.parallel() == [PASSED_OVER]
    assert ("parallel_cpumask", mask(ONLINE)) in read(root)
    await ours.stop()
    assert kernel.parallel() == []
    assert read(root) == {("parallel_cpumask", "ff"), ("serial_cpumask", "ff")}


async def test_it_is_passed_over_after_a_failure_too(kernel: Kernel) -> None:
    ours = Pcrypt()
    with pytest.raises(ValueError, match="no state"):
        async with ours.preferred("gw", GCM, frozenset()):
            raise ValueError("no state")
    assert kernel.parallel() == [PASSED_OVER]
    await ours.stop()


async def test_what_a_crashed_daemon_left_is_removed(kernel: Kernel, root: Path) -> None:
    kernel.priorities["pcrypt(x)"] = PASSED_OVER
    kernel.priorities["pcrypt(y)"] = 300  # somebody else's
    await Pcrypt().start()
    assert kernel.parallel() == [300]
    assert ("parallel_cpumask", mask(ONLINE)) in read(root)


async def test_one_daemon_at_a_time(kernel: Kernel) -> None:
    ours, theirs = Pcrypt(), Pcrypt()
    async with ours.preferred("gw", GCM, frozenset()):
        pass
    with pytest.raises(BackendError, match="another ikeclone of this system uses parallel-crypto="):
        async with theirs.preferred("gw", GCM, frozenset()):
            pass
    await theirs.start()
    assert kernel.parallel() == [PASSED_OVER], "what another one uses is no leftover"
    await ours.stop()
    async with theirs.preferred("gw", GCM, frozenset()):
        pass
    await theirs.stop()


@pytest.mark.parametrize(
    ("change", "cpus", "reason"),
    [
        ({"refuses": True}, frozenset(), r"the kernel cannot make pcrypt\(seqiv.*No such file or directory"),
        ({}, frozenset({os.cpu_count() or 1, 4095}), "is not online"),
        ({"priorities": {"pcrypt(others)": 500}}, frozenset(), "somebody has made pcrypt.* already"),
    ],
)
async def test_refusals(kernel: Kernel, change: dict[str, object], cpus: frozenset[int], reason: str) -> None:
    vars(kernel).update(change)
    ours = Pcrypt()
    with pytest.raises(BackendError, match=reason):
        async with ours.preferred("gw", GCM, cpus):
            pass
    await ours.stop()


async def test_one_that_others_use_stays_and_is_logged(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    ours = Pcrypt()
    async with ours.preferred("gw", GCM, frozenset()):
        pass
    kernel.uses = True
    await ours.stop()
    assert "stays: it is in use" in caplog.text
