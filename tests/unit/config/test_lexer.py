"""The form of ipsec.conf: sections, entries, quotes, comments, includes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.config import ConfigErrors, load, load_secrets
from ikeclone.config.files import MAX_SIZE
from ikeclone.config.lexer import read_sections
from ikeclone.config.problems import Problems

Write = Callable[..., Path]


def entries(path: Path) -> dict[str, str]:
    problems = Problems()
    sections = read_sections(path, problems)
    problems.check()
    return {entry.key: entry.value for section in sections for entry in section.entries}


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("\tauto=add", "auto", "add"),
        ("  auto = add  ", "auto", "add"),
        ("\tAUTO=Add", "auto", "Add"),
        ("\tleft-id=@west", "leftid", "@west"),
        ("\treplay_window=64", "replay-window", "64"),
        ("\tauto=add # later", "auto", "add"),
        ("\tauto=add#not-a-comment", "auto", "add#not-a-comment"),
        ("\tauto=# unset", "auto", ""),
        ("\tauto=", "auto", ""),
        ('\tleftid="CN = west"  # quoted', "leftid", "CN = west"),
        ("\tleftsubnets={192.0.1.0/24  192.0.3.0/24}", "leftsubnets", "192.0.1.0/24  192.0.3.0/24"),
        ("\tesp=aes256-sha2_512;dh19", "esp", "aes256-sha2_512;dh19"),
        ("\tike=a=b", "ike", "a=b"),
        ("\tauto=add\r", "auto", "add"),
    ],
)
def test_entry(write: Write, line: str, key: str, value: str) -> None:
    assert entries(write(f"conn west\n{line}\n")) == {key: value}


def test_blank_lines_comments_and_notes_end_no_section(write: Write) -> None:
    first = "version 2.0\n\n# first\nconn west # a comment\n\tauto=add\n\n"
    path = write(first + "# between\n\tx-note=1\n\tX_other=2\n\tpfs=no")
    assert entries(path) == {
        "auto": "add",
        "pfs": "no",
    }


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "ipsec.conf"
    path.write_bytes(b"\xef\xbb\xbfconn west\n\tauto=add\n")
    assert entries(path) == {"auto": "add"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\tauto=add\n",
            "ipsec.conf:1: this line is in no section: put 'config setup' or 'conn NAME' above it",
        ),
        ("conn a\nauto=add\n", "ipsec.conf:2: indent 'auto=add': a keyword belongs to the section above it"),
        ("connn a\n", "ipsec.conf:1: 'connn a' is not 'config setup', 'conn NAME' or 'include FILE'"),
        ("connn a\n\tauto=add\n", "ipsec.conf:1: 'connn a' is not 'config setup', 'conn NAME' or 'include FILE'"),
        ("conn\n", "ipsec.conf:1: 'conn' is not 'config setup', 'conn NAME' or 'include FILE'"),
        ("conn a\n\tauto add\n", "ipsec.conf:2: 'auto add' is not KEYWORD=VALUE"),
        ("conn a\n\t=add\n", "ipsec.conf:2: '=add' is not KEYWORD=VALUE"),
        ('conn a\n\tleftid="@x\n', 'ipsec.conf:2: the value of leftid lacks its closing "'),
        ("conn a\n\tleftsubnets={a\n", "ipsec.conf:2: the value of leftsubnets lacks its closing }"),
        ("conn a\n\tike=a, b\n", "ipsec.conf:2: the value of ike has blanks: put it in double quotes"),
        ("conn a\n\tike=a\x00b\n", "ipsec.conf:2: there is a control character in this line"),
        ("include other.conf\n", "ipsec.conf:1: include other.conf: there is no such file"),
        ('include ""\n', "ipsec.conf:1: include needs a file name or a pattern"),
    ],
)
def test_mistakes_of_form(write: Write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(ConfigErrors) as caught:
        entries(path)
    assert str(caught.value) == f"{path.parent}/{message}"


def test_include_is_relative_to_its_file_and_globbed_in_order(write: Write) -> None:
    write("conn b\n\tpfs=yes\n", "conf.d/20.conf")
    write("conn a\n\tauto=add\n", "conf.d/10.conf")
    write("include conf.d/*.conf\n", "all.conf")
    sections = read_sections(write('include "all.conf"\nconn c\n'), Problems())
    assert [section.title for section in sections] == ["conn a", "conn b", "conn c"]
    assert str(sections[0].place).endswith("conf.d/10.conf:1")


def test_a_section_does_not_go_on_after_an_include(write: Write, mistakes: Callable[[str], list[str]]) -> None:
    write("conn a\n", "a.conf")
    assert mistakes("include a.conf\n\tauto=add\n")[-1].startswith("ipsec.conf:2: this line is in no section")


def test_include_without_a_match_warns(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    assert read_sections(write("include conf.d/*.conf\n"), Problems()) == []
    assert "ipsec.conf:1: no file matches include conf.d/*.conf" in caplog.text


def test_include_loop(write: Write) -> None:
    write("include ipsec.conf\n", "other.conf")
    with pytest.raises(ConfigErrors, match=r"other\.conf:1: include ipsec\.conf: .* includes itself"):
        load(write("include other.conf\n"))


def test_include_too_deep(write: Write) -> None:
    for number in range(12):
        write(f"include {number + 1}.conf\n", f"{number}.conf")
    write("", "12.conf")
    with pytest.raises(ConfigErrors, match=r"9\.conf:1: includes are nested more than 10 deep"):
        load(write("include 0.conf\n"))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "ipsec.conf"
    with pytest.raises(ConfigErrors, match=r"cannot read .*ipsec\.conf: No such file or directory"):
        load(path)
    path.write_bytes(b"conn a\n\tleftid=\xff\n")
    with pytest.raises(ConfigErrors, match=r"ipsec\.conf:2: this is not UTF-8 text"):
        load(path)
    path.write_bytes(b"#" * (MAX_SIZE + 1))
    with pytest.raises(ConfigErrors, match="it is larger than 1048576 bytes"):
        load(path)


_WORDS = [
    "conn",
    "config setup",
    "%default",
    "include",
    "*",
    "=",
    '"',
    "{",
    "}",
    "\t",
    "\n",
    "#",
    ":",
    "PSK",
    "0x",
]
_LINES = st.lists(st.sampled_from([*_WORDS, "left=%any", "also=a", "@west", "0s"]) | st.text(max_size=8), max_size=40)


@given(_LINES.map("".join) | st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(content.encode(errors="surrogatepass") if isinstance(content, str) else content)
    path.chmod(0o600)
    for read in (load, load_secrets):
        with suppress(ConfigErrors):
            assert read(path) is not None
