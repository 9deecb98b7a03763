"""Fetching over HTTP from a server on this machine, and what bounds it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as wire

from ikeclone.errors import AuthenticationFailed
from ikeclone.fetching import Fetcher, FetchError, fetch
from ikeclone.pki.revocation import Evidence
from ikeclone.pki.standing import Order, Policy, Query, Standing, Unsettled
from tests.unit.pki.authority import NOW, root
from tests.unit.pki.test_revocation import answer

REVOKED = wire.OCSPCertStatus.REVOKED

ROOT = root()
GOOD, BAD = ROOT.issue("CN=good"), ROOT.issue("CN=bad")
QUERY = Query("http://nowhere.example/", ROOT.certificate)


def verdict(request: bytes) -> bytes:
    """What the authority's responder says of the certificate that a request is about."""
    serial = wire.load_der_ocsp_request(request).serial_number
    holder, said = (BAD, REVOKED) if serial == BAD.certificate.serial_number else (GOOD, wire.OCSPCertStatus.GOOD)
    return answer(holder, ROOT, said).public_bytes(Encoding.DER)


class Handler(BaseHTTPRequestHandler):
    """Answers with what it was asked; some paths are not so kind. `released` ends what would last for ever."""

    released: threading.Event
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path:
            case "/large":
                self._answer(bytes(3000))
            case "/missing":
                self.send_error(404)
            case "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "/here")
                self.end_headers()
            case "/chunks":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            case "/silence":
                self.released.wait(30)
            case "/drip":
                self._drip()
            case path if path.startswith("/ocsp/"):
                self._answer(verdict(b64decode(unquote(path.removeprefix("/ocsp/")))))
            case _:
                self._answer(self.path.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/ocsp":
            self._answer(verdict(body))
            return
        self._answer(self.headers["Content-Type"].encode() + b" " + body)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.released.wait(0.05):
            self.wfile.write(b".")

    def log_message(self, *arguments: object) -> None:
        """Nothing of it in the output of the tests."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A client that does not wait any longer is no news here."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.released = threading.Event()
    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        Handler.released.set()
        listening.shutdown()
        thread.join()


def order(url: str, body: bytes | None = None, timeout: float = 5.0, most: int = 2000) -> Order:
    return Order(QUERY, url, body, timeout, most)


def test_get_and_post(server: str) -> None:
    assert fetch(order(f"{server}/a/b%2Fc?d=e")) == b"/a/b%2Fc?d=e"
    assert fetch(order(server)) == b"/"
    assert fetch(order(f"{server}/", b"asked")) == b"application/ocsp-request asked"
    assert fetch(order(f"{server}/chunks")) == b"abcde"


@pytest.mark.parametrize("post", [False, True])
def test_a_responder_is_asked_and_its_answer_counts(server: str, post: bool) -> None:
    standing = Standing(Policy(ocsp=True, ocsp_strict=True, ocsp_uri=f"{server}/ocsp", ocsp_post=post))
    for holder, refusal in ((GOOD, nullcontext()), (BAD, pytest.raises(AuthenticationFailed, match="was revoked"))):
        path = holder.certificate, ROOT.certificate
        with pytest.raises(Unsettled) as unsettled:
            standing.check(path, Evidence(), NOW)
        (query,) = unsettled.value.queries
        standing.learn(query, fetch(standing.order(query)), NOW)
        with refusal:
            standing.check(path, Evidence(), NOW)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/large", "more than 2000 octets"), ("/missing", "HTTP status 404"), ("/elsewhere", "HTTP status 302")],
)
def test_what_is_not_taken(server: str, path: str, why: str) -> None:
    with pytest.raises(FetchError, match=why):
        fetch(order(server + path))


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port/", "http://[::1/", "http://127.0.0.1:1/\n"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(order(url))


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError, match="refused"):
            fetch(order(f"http://127.0.0.1:{taken.getsockname()[1]}/"))


@pytest.mark.parametrize("path", ["/silence", "/drip"])
def test_a_server_that_takes_its_time_is_not_waited_for(server: str, path: str) -> None:
    begin = time.monotonic()
    with pytest.raises(FetchError):
        fetch(order(server + path, timeout=0.3))
    assert time.monotonic() - begin < 10


class Audience:
    """Whom a Fetcher delivers to; says that what it got is wrong if it is `bad`."""

    def __init__(self, bad: bytes = b"") -> None:
        self._bad, self._got, self.arrived = bad, asyncio.Queue[bytes | None](), 0

    def take(self, query: Query, data: bytes | None) -> str | None:
        assert query == QUERY
        self.arrived += 1
        self._got.put_nowait(data)
        return "forged" if data and data == self._bad else None

    async def next(self) -> bytes | None:
        async with asyncio.timeout(20):
            return await self._got.get()


async def test_the_event_loop_goes_on_meanwhile(server: str, caplog: pytest.LogCaptureFixture) -> None:
    audience = Audience(bad=b"/bad")
    fetcher = Fetcher(audience.take)
    fetcher.start(order(f"{server}/silence", timeout=0.5))
    fetcher.start(order(f"{server}/quick"))
    assert await audience.next() == b"/quick"
    assert await audience.next() is None
    assert "http://nowhere.example/: " in caplog.text
    fetcher.start(order(f"{server}/missing"))
    assert await audience.next() is None
    fetcher.start(order(f"{server}/bad"))
    assert await audience.next() == b"/bad"
    await asyncio.sleep(0)
    assert "HTTP status 404" in caplog.text
    assert "forged" in caplog.text
    await fetcher.stop()


async def test_those_that_wait_for_a_thread_use_up_their_time(server: str) -> None:
    audience = Audience()
    fetcher = Fetcher(audience.take)
    for _ in range(20):
        fetcher.start(order(f"{server}/silence", timeout=0.5))
    assert [await audience.next() for _ in range(20)] == [None] * 20
    await fetcher.stop()


async def test_what_is_stopped_delivers_nothing(server: str) -> None:
    audience = Audience()
    fetcher = Fetcher(audience.take)
    fetcher.start(order(f"{server}/silence", timeout=0.5))
    await asyncio.sleep(0)
    await fetcher.stop()
    assert audience.arrived == 0
