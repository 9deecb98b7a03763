"""Fetching revocation lists and OCSP responses over HTTP, beside everything else and within bounds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Final
from urllib.parse import urlsplit

from ikeclone.pki.standing import Order, Query

log = logging.getLogger(__name__)

# What came of a query, None if nothing did; returns what is wrong with it, if anything is.
Deliver = Callable[[Query, bytes | None], str | None]

_AT_ONCE: Final = 8
_PIECE: Final = 1 << 16


class FetchError(Exception):
    """Why nothing was fetched."""


class Fetcher:
    """Does a few orders at a time, each in a thread of its own; the others wait, which counts as their time."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._threads = ThreadPoolExecutor(_AT_ONCE, "fetch")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, order: Order) -> None:
        """Fetch something and deliver what comes of it, at the latest when its time is up."""
        task = asyncio.get_running_loop().create_task(self._fetch(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, order: Order) -> None:
        data, loop = None, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(order.timeout):
                data = await loop.run_in_executor(self._threads, fetch, order)
        except TimeoutError:
            wrong: str | None = f"no answer within {order.timeout:g} seconds"
            self._deliver(order.query, None)
        except FetchError as error:
            wrong = str(error)
            self._deliver(order.query, None)
        else:
            wrong = self._deliver(order.query, data)
        if wrong:
            log.warning("%s: %s", order.query.address, wrong)

    async def stop(self) -> None:
        """Fetch nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)


def fetch(order: Order) -> bytes:
    """The octets behind an address, in the calling thread; redirections are not followed.

    Raises FetchError when they cannot be had in time, or are too many.
    """
    deadline = time.monotonic() + order.timeout
    try:
        parts = urlsplit(order.url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=order.timeout)
    except (HTTPException, ValueError) as error:
        raise FetchError(f"not an address: {error}") from error
    try:
        headers = {"Content-Type": "application/ocsp-request"} if order.body is not None else {}
        target = order.url.split(parts.netloc, 1)[1] or "/"
        connection.request("GET" if order.body is None else "POST", target, order.body, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise FetchError(f"HTTP status {response.status}")
        return _read(response, order.most, deadline)
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _read(response: HTTPResponse, most: int, deadline: float) -> bytes:
    data = bytearray()
    while piece := response.read1(_PIECE):
        data += piece
        if len(data) > most:
            raise FetchError(f"more than {most} octets")
        if time.monotonic() > deadline:
            raise FetchError("too slow")
    return bytes(data)
