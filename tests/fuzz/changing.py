"""Inputs made of others by chance: bits, bytes, numbers, words, and parts of one in another."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# Numbers at an edge of what something can hold, as they stand in binary formats and in text.
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TEXTS = (
    b"0", b"-1", b"1e999", b"nan", b"inf", b"-0.0", b"null", b"true", b"[]", b"{}", b'""', b"\xff",
    b"\x00", b"9" * 30, b"1" + b"0" * 400, b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"[" * 200,
    b"2026-13-45", "\N{COMBINING ACUTE ACCENT}".encode(), b"../", b"%s%n", b"\\u0000",
)  # fmt: skip
MOST_EDITS = 6

Edit = Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], None]


def changed(
    data: bytes,
    rng: random.Random,
    words: Sequence[bytes] = (),
    others: Sequence[bytes] = (),
    most_bytes: int = 4096,
) -> bytes:
    """Some edits of an input.

    Args:
        data: what is changed.
        rng: chance.
        words: that may be put in.
        others: inputs of which parts may be put in.
        most_bytes: what is longer is cut.
    """
    out = bytearray(data)
    for _ in range(rng.randint(1, MOST_EDITS)):
        rng.choice(EDITS)(out, rng, words, others)
    return bytes(out[:most_bytes])


def _bit(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _byte(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = (rng.choice(EDGES) + rng.randint(-1, 1)) % (1 << 8 * size)
    at = rng.randint(0, len(out))
    out[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _word(out: bytearray, rng: random.Random, words: Sequence[bytes], _o: Sequence[bytes]) -> None:
    word = rng.choice(words) if words and rng.random() < 0.6 else rng.choice(TEXTS)
    at = rng.randint(0, len(out))
    out[at : at + rng.choice((0, len(word), rng.randint(0, 12)))] = word


def _cut(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    begin = rng.randint(0, len(out))
    del out[begin : begin + rng.choice((1, 2, 4, rng.randint(1, 64), len(out)))]


def _again(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    begin = rng.randint(0, len(out))
    part = out[begin : begin + rng.randint(1, 64)]
    at = rng.randint(0, len(out))
    out[at:at] = part * rng.choice((1, 1, 2, 30))


def _part(out: bytearray, rng: random.Random, _w: Sequence[bytes], others: Sequence[bytes]) -> None:
    if not others:
        return
    other = rng.choice(others)
    begin, at = rng.randint(0, len(other)), rng.randint(0, len(out))
    out[at:] = other[begin:]


def _digit(out: bytearray, rng: random.Random, _w: Sequence[bytes], _o: Sequence[bytes]) -> None:
    """A number in text, or a letter in its place."""
    digits = [at for at, byte in enumerate(out) if byte in b"0123456789"]
    if digits:
        out[rng.choice(digits)] = rng.choice(b"0123456789-.eE+_x ")


EDITS: tuple[Edit, ...] = (_bit, _byte, _number, _word, _word, _cut, _again, _part, _digit)
