"""parallel-crypto=: CPUs of their own do one SA's work, through pcrypt; afterwards the kernel is as it was before."""

from __future__ import annotations

from pathlib import Path

from ikeclone.demo.namespaces import end
from ikeclone_xfrm.crypto import Algorithm, algorithms
from interop.kernel.lab import CONNECTION_NAME, CPUS, KernelDaemon, KernelLab, up
from interop.kernel.scenarios.streams import await_listening
from interop.lab import EAST, WEST, expect, expect_in

LIMIT = 360  # seconds
CIPHERS = {"aes_gcm256": "seqiv(rfc4106(gcm(aes)))", "aes256-sha2_256": "echainiv(authenc(hmac(sha256),cbc(aes)))"}
MASKS = Path("/sys/kernel/pcrypt")
WORKERS, ALL = "2-3", "f"
WANTED = {
    f"{way}/{name}": mask
    for way in ("pencrypt", "pdecrypt")
    for name, mask in (("parallel_cpumask", "c"), ("serial_cpumask", "3"))
}
OCTETS = 200_000
SWITCHES = 20  # of threads, at least, for so many octets: a worker takes several packets at a time


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, {"esp": ",".join(CIPHERS), "esn": "no"})
    for esp, cipher in CIPHERS.items():
        west = lab.ikeclone(settings=settings(esp))
        up(west)
        await_algorithm(lab, cipher)
        expect("masks", masks(), WANTED)
        expect("replies", lab.ping(CPUS[0], 3), 3)
        before = switches()
        stream(lab)
        expect("workers that had much to do", switches() > before + SWITCHES, True)
        expect("exit code", west.stop(), 0)
        expect_nothing(cipher)
    crash(lab, "aes_gcm256")
    expect_in("failure", failure(lab.ikeclone(settings=settings("aes_gcm256", "1,7"))), "CPU 7 is not online")


def settings(esp: str, cpus: str = WORKERS) -> dict[str, str]:
    return {"esp": esp, "esn": "no", "parallel-crypto": cpus}


def await_algorithm(lab: KernelLab, cipher: str) -> None:
    """Wait until the algorithm has both states of an SA, beside itself, and others prefer the one of one CPU."""
    made = parallel(cipher)
    lab.wait(lambda: [each.references for each in parallel(cipher)] == [3], f"two states with {made}")
    others = [each.priority for each in algorithms() if each.name == cipher and each not in parallel(cipher)]
    lab.wait(lambda: parallel(cipher)[0].priority < max(others), "others that prefer their own")


def crash(lab: KernelLab, esp: str) -> None:
    """What a daemon that was killed has left, the next one takes away."""
    west = lab.ikeclone(settings=settings(esp))
    up(west)
    await_algorithm(lab, CIPHERS[esp])
    west.process.kill()
    west.process.wait()
    expect("algorithms left", len(parallel(CIPHERS[esp])), 1)
    west.start()
    expect_nothing(CIPHERS[esp])
    west.stop()


def expect_nothing(cipher: str) -> None:
    expect("algorithms left", parallel(cipher), [])
    expect("masks", masks(), dict.fromkeys(WANTED, ALL))


def parallel(cipher: str) -> list[Algorithm]:
    return [each for each in algorithms() if each.name == cipher and each.driver.startswith("pcrypt(")]


def masks() -> dict[str, str]:
    return {name: (MASKS / name).read_text().strip() for name in WANTED}


def switches() -> int:
    """How often the threads that may use only the chosen CPUs had something to do."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        said = dict(line.partition(":")[::2] for line in status.read_text().splitlines())
        if said["Name"].strip().startswith("kworker") and said["Cpus_allowed_list"].strip() == WORKERS:
            found += int(said["voluntary_ctxt_switches"])
    return found


def stream(lab: KernelLab) -> None:
    """TCP from west to east, which would be slow if packets came out of order."""
    server = lab.east.start("iperf3", "-s", "-1", "--forceflush", "-B", EAST.inner, cpus=(CPUS[1],))
    await_listening(server)
    lab.west.run("iperf3", "-c", EAST.inner, "-B", WEST.inner, "-n", str(OCTETS), cpus=(CPUS[0],), timeout=120)
    end(server)


def failure(daemon: KernelDaemon) -> str:
    """What comes of an attempt to bring the connection up."""
    return daemon.command("up", CONNECTION_NAME, check=False) + daemon.last_words()
