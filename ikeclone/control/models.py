"""What goes over the control socket: commands, reports and replies.

Times are seconds from or until now unless a field says otherwise; SPIs are hexadecimal digits.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, TypeAdapter

MAX_COMMAND = 64 * 1024
MAX_REPLY = 64 * 1024 * 1024


class Message(BaseModel):
    """Base of all that is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The message as the line that goes over the socket."""
        return self.model_dump_json().encode() + b"\n"


class Up(Message):
    """Bring a connection up; ends when its first Child SA is there, with `ike` when its IKE SA is.

    An established one is left as it is.
    """

    command: Literal["up"] = "up"
    name: str
    ike: bool = False


class Down(Message):
    """Delete every SA of a connection."""

    command: Literal["down"] = "down"
    name: str


class Status(Message):
    """Ask for a StatusReport."""

    command: Literal["status"] = "status"


class TrafficStatus(Message):
    """Ask for a TrafficReport, of one connection or all."""

    command: Literal["trafficstatus"] = "trafficstatus"
    name: str | None = None


class Clones(Message):
    """Ask for a ClonesReport."""

    command: Literal["clones"] = "clones"
    name: str


class Rekey(Message):
    """Rekey every Child SA of a connection or, with `ike`, its IKE SA; with `reauth` both sides prove who they are."""

    command: Literal["rekey"] = "rekey"
    name: str
    ike: bool = False
    reauth: bool = False


class Redirect(Message):
    """Send the peers of a connection to another gateway (RFC 5685)."""

    command: Literal["redirect"] = "redirect"
    name: str
    to: IPvAnyAddress


class Reload(Message):
    """Read ipsec.conf and ipsec.secrets again; with a mistake in them nothing changes."""

    command: Literal["reload"] = "reload"


class Doctor(Message):
    """Ask for a DoctorReport."""

    command: Literal["doctor"] = "doctor"


class Stop(Message):
    """Take everything down and end the daemon."""

    command: Literal["stop"] = "stop"


Command = Annotated[
    Up | Down | Status | TrafficStatus | Clones | Rekey | Redirect | Reload | Doctor | Stop,
    Field(discriminator="command"),
]


class Done(Message):
    """A command that has nothing to report was carried out; `text` says it in a sentence or is empty."""

    report: Literal["done"] = "done"
    text: str = ""


class TrafficRow(Message):
    """A Child SA pair and what it carried.

    `name` is the instance's: NAME-0 for the fallback, NAME-1 and up for clones, NAME itself without clones.
    `serial` is the daemon's number of the SA, `add_time` seconds since 1970, `id` the peer's identity; the
    fallback's `cpu` is None. `peer` is the address of an instance's peer.
    """

    serial: int
    name: str
    connection: str
    instance: int
    type: str = "ESP"
    add_time: int
    in_bytes: int
    out_bytes: int
    in_packets: int
    out_packets: int
    id: str
    cpu: int | None = None
    peer: str | None = None


class TrafficReport(Message):
    """Every established Child SA."""

    report: Literal["traffic"] = "traffic"
    rows: list[TrafficRow]


class CloneRow(Message):
    """The fallback (`cpu` None) or a CPU with its clone; without an SA, SPIs are empty and numbers 0.

    `next_rekey` is None when it isn't ours to rekey, `last_used` is seconds ago and None when it never was.
    `over_fallback` is how many packets of the CPU the present fallback has carried, where the data plane can tell.
    """

    name: str
    cpu: int | None
    state: str
    inbound_spi: str = ""
    outbound_spi: str = ""
    in_bytes: int = 0
    out_bytes: int = 0
    in_packets: int = 0
    out_packets: int = 0
    age: float = 0.0
    last_used: float | None = None
    next_rekey: float | None = None
    opened_by: Literal["us", "peer"] | None = None
    over_fallback: int = 0


class ClonesReport(Message):
    """The clones of a connection, the fallback first, then by CPU.

    `limit` is for how many CPUs we open clones. `refused` tells that the peer takes no more of them and answered
    `refusal`; we ask again in `retry_in` seconds, or with None not before the connection comes up anew. `refusals`
    is how often it has refused so far.
    """

    report: Literal["clones"] = "clones"
    connection: str
    limit: int
    rows: list[CloneRow]
    refused: bool = False
    retry_in: float | None = None
    refusal: str = "TS_MAX_QUEUE"
    refusals: int = 0


class ChildRow(Message):
    """A Child SA under its IKE SA."""

    serial: int
    name: str
    cpu: int | None
    state: str
    suite: str
    inbound_spi: str
    outbound_spi: str
    age: float
    rekey_in: float | None = None


class IkeSaRow(Message):
    """An IKE SA; `path` is ADDRESS[PORT]...ADDRESS[PORT], ours first."""

    serial: int
    connection: str
    state: str
    local_id: str
    remote_id: str
    path: str
    suite: str
    spi_i: str
    spi_r: str
    age: float
    rekey_in: float | None = None
    children: list[ChildRow] = []


class ConnectionRow(Message):
    """A connection as it was loaded; `local` and `remote` are ADDRESS[ID], `clones` None is one per CPU.

    `addresses` are ours inside the tunnel, given by the peer with `dns`, servers for names, and the `domains` of these.
    """

    name: str
    auto: str
    local: str
    remote: str
    local_selectors: list[str]
    remote_selectors: list[str]
    state: str
    clones: int | None = 0
    addresses: list[str] = []
    dns: list[str] = []
    domains: list[str] = []


class PoolRow(Message):
    """A pool of `size` addresses, and the identity of the peer that has each leased one."""

    pool: str
    size: int
    leases: dict[str, str]


class StatusReport(Message):
    """The daemon as a whole. `backend` is the data plane's name, `data_plane` what it says of itself."""

    report: Literal["status"] = "status"
    version: str
    uptime: float
    backend: str
    data_plane: dict[str, str]
    connections: list[ConnectionRow]
    ike_sas: list[IkeSaRow]
    counters: dict[str, int]
    pools: list[PoolRow] = []


Verdict = Literal["good", "note", "warning", "bad"]


class Finding(Message):
    """What was found out about a part of the machine. A "bad" one prevents work; `advice` is what to do, or empty."""

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


class DoctorReport(Message):
    """What works on this machine, found out by trying."""

    report: Literal["doctor"] = "doctor"
    findings: list[Finding]


Report = Annotated[Done | TrafficReport | ClonesReport | StatusReport | DoctorReport, Field(discriminator="report")]


class Progress(Message):
    """Something happened on the way to the outcome."""

    reply: Literal["progress"] = "progress"
    text: str


class Ok(Message):
    """The command was carried out."""

    reply: Literal["ok"] = "ok"
    report: Report


class Error(Message):
    """The command was not carried out; `message` says what to do."""

    reply: Literal["error"] = "error"
    message: str


Reply = Annotated[Progress | Ok | Error, Field(discriminator="reply")]

COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
REPLIES: TypeAdapter[Reply] = TypeAdapter(Reply)
