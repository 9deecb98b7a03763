"""Encoding messages, and a network namespace of one's own."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ikeclone_xfrm.messages import XfrmMarshal
from ikeclone_xfrm.numbers import Msg

CLONE_NEWNET = 0x40000000

Encode = Callable[[Msg, dict[str, Any], Iterable[tuple[str, Any]]], bytes]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def encode() -> Encode:
    """Encodes a request; returns what follows the netlink header."""

    def encoded(kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> bytes:
        message = XfrmMarshal.msg_map[kind]()
        message.update(fields)
        message["attrs"] = [(f"XFRMA_{name}", value) for name, value in attributes]
        message.encode()
        return bytes(message.data)[16:]

    return encoded


@pytest.fixture
def in_namespace() -> Run:
    """Runs a coroutine in a network namespace that is made for it and goes with it."""

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_unshare).result()
            pool.submit(asyncio.run, coroutine).result()

    return run


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
