"""What the kernel refuses, with its own words (the extended acknowledgement of netlink)."""

from __future__ import annotations

import errno
import os

from ikeclone.backend import BackendError


class XfrmError(BackendError):
    """A request was refused; `code` is the errno, `text` what the kernel says about it."""

    def __init__(self, request: str, code: int, text: str) -> None:
        super().__init__(f"{request}: {text} ({errno.errorcode.get(code, code)})")
        self.code, self.text = code, text


class AlreadyThere(XfrmError):
    """Such a state or policy exists."""


class NotThere(XfrmError):
    """No such state or policy exists."""


class NotPermitted(XfrmError):
    """CAP_NET_ADMIN in this network namespace is missing."""


class NotSupported(XfrmError):
    """The kernel was built without what is asked for, or its module cannot be loaded."""


_KINDS: dict[int, type[XfrmError]] = {
    errno.EEXIST: AlreadyThere,
    errno.ESRCH: NotThere,
    errno.ENOENT: NotThere,
    errno.EPERM: NotPermitted,
    errno.ENOSYS: NotSupported,
    errno.EPROTONOSUPPORT: NotSupported,
    errno.ENOPROTOOPT: NotSupported,
    errno.EAFNOSUPPORT: NotSupported,
}


def refused(request: str, code: int, text: str | None = None) -> XfrmError:
    """The exception for an errno; without a text of the kernel's, the errno's."""
    return _KINDS.get(code, XfrmError)(request, code, text or os.strerror(code))
