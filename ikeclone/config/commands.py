"""Commands that ipsec.conf names; no shell ever reads them."""

from __future__ import annotations

import shlex

_OF_SHELLS = frozenset("();<>|&")


def command(text: str) -> tuple[str, ...]:
    """A command and its arguments, divided and quoted as for a shell, but without what only a shell understands."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = tuple(lexer)
    except ValueError:
        raise ValueError("a quotation mark is not closed") from None
    if any(word and _OF_SHELLS.issuperset(word) for word in words):
        raise ValueError("is run without a shell, which ( ) ; < > | and & are for: put them into a script")
    return words
