"""Replies are read within limits, and shown without what a terminal would obey."""

import asyncio
import gzip
import zlib

import httpx
import pytest

from distill.remote.reply import (
    InvalidBody,
    TruncatedBody,
    decode_body,
    make_plain,
    parse_json,
    read_body,
    shorten_text,
)


def read(content: bytes, encoding: str | None = None, most: int = 32 << 20, chunk: int = 65_536):
    async def chunks():
        for start in range(0, len(content), chunk):
            yield content[start : start + chunk]

    headers = {"Content-Encoding": encoding} if encoding else {}
    return asyncio.run(read_body(httpx.Response(200, headers=headers, content=chunks()), most))


def bare_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


TEXT = b'{"choices": [{"text": "bees dance"}]}' * 50
WAYS = [
    (None, bytes),
    ("gzip", gzip.compress),
    ("X-GZip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
]


@pytest.mark.parametrize(("encoding", "pack"), WAYS)
@pytest.mark.parametrize("chunk", [1, 7, 65_536])
def test_body_is_unpacked_whatever_its_chunks(encoding, pack, chunk):
    assert read(pack(TEXT), encoding, chunk=chunk) == TEXT


@pytest.mark.parametrize(("encoding", "pack"), WAYS[1:])
@pytest.mark.bad_input("server", "a reply that is a bomb of gzip", "refused, unread")
def test_bomb_is_refused_before_it_goes_off(encoding, pack):
    with pytest.raises(InvalidBody, match="100 times its length"):
        read(pack(b" " * (16 << 20)), encoding)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_body_is_read_up_to_its_limit(encoding):
    content = b"".join(b"%d" % (n * n) for n in range(200_000))
    packed = gzip.compress(content) if encoding else content
    with pytest.raises(InvalidBody, match="more than 1 MiB"):
        read(packed, encoding, most=1 << 20)
    assert read(packed, encoding) == content


def test_reply_in_an_unknown_compression_is_refused():
    with pytest.raises(InvalidBody, match="'br', which was not asked for"):
        read(b"\x0b\x02\x80", "br")


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(TEXT, mtime=0)[:10] + b"\xff" * 40]
)
def test_reply_with_damaged_compression_says_so(content):
    with pytest.raises(TruncatedBody, match="gzip is damaged"):
        read(content, "gzip")


@pytest.mark.parametrize(
    "text", ["", "<html>", "[" * 100_000, "1" * 5_000, '{"a": ', "\ufffd", "[" * 100_000 + "]" * 9]
)
def test_reply_that_is_no_json_says_so(text):
    with pytest.raises(InvalidBody, match="JSON"):
        parse_json(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_json_in_any_of_unicodes_encodings(encoding):
    assert parse_json(decode_body('{"text": "naïve 蜂"}'.encode(encoding))) == {"text": "naïve 蜂"}


@pytest.mark.parametrize(
    "escape",
    [
        "\x1b[2J",
        "\x1b[31;1m",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil.example\x1b\\",
        "\x1bPq#0\x1b\\",
        "\x1bc",
        "\x1b(0",
        "\x9b2J",
        "\x9d0;title\x9c",
        "\x07",
        "\x08\x08",
        "\x00",
        "\u202e",
        "\u2066",
        "\x1b=",
        "\x7f",
    ],
)
@pytest.mark.bad_input("server", "escapes of terminals in an error", "not shown")
def test_escape_sequences_of_a_reply_are_not_shown(escape):
    assert make_plain(f"no {escape}such model") == "no such model"
    assert make_plain(f"no such model{escape}") == "no such model"
    assert make_plain("no such model\x1b") == "no such model"


def test_beginning_of_a_text_is_one_line():
    assert shorten_text(" one\n\ttwo ") == "one two"
    assert len(shorten_text("word " * 10_000)) <= 300
    assert shorten_text("half \ud83d") == "half ?"
