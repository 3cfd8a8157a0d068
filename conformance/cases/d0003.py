"""Cases of 0003: time keys and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cases.kit import Case, VectorFile, invalid, valid

_TIMES: Final = {
    "zero": (0, "0000000000000000"),
    "one": (1, "0000000000000001"),
    "example": (1_700_000_000_000_000_000, "17979cfe362a0000"),
    "last-visible": ((1 << 63) - 2, "7ffffffffffffffe"),
    "half": (1 << 63, "8000000000000000"),
    "last": ((1 << 64) - 1, "ffffffffffffffff"),
    "beyond-53-bits": ((1 << 53) + 1, "0020000000000001"),
}


def encoded() -> Iterator[Case]:
    """Times to keys."""
    for name, (time, text) in _TIMES.items():
        yield valid(name, "0003-R4", "sixteen digits", time=time, expected=text)
    yield invalid("negative", "0003-R1", "below zero", time=-1)
    yield invalid("beyond-64-bits", "0003-R1", "2^64", time=1 << 64)


def decoded() -> Iterator[Case]:
    """Keys to times."""
    for name, (time, text) in _TIMES.items():
        yield valid(name, "0003-R4", "sixteen digits", text=text, expected=time)
    bad = {
        "upper-case": ("17979CFE362A0000", "capitals"),
        "fifteen-digits": ("17979cfe362a000", "a digit short"),
        "seventeen-digits": ("017979cfe362a0000", "a digit long"),
        "empty": ("", "nothing"),
        "prefix": ("0x79cfe362a00000", "a prefix"),
        "sign": ("+7979cfe362a0000", "a sign"),
        "blank": (" 7979cfe362a0000", "a blank"),
        "underscore": ("1797_cfe362a0000", "an underscore"),
        "not-hexadecimal": ("17979cfe362a000g", "g is no digit"),
        "digit-not-ascii": ("17979cfe362a000\u0660", "a zero of another script"),
        "line-end": ("17979cfe362a000\n", "a line end"),
    }
    for name, (text, comment) in bad.items():
        yield invalid(name, "0003-R4", comment, text=text)


def ranges() -> Iterator[Case]:
    """Pairs that are a range."""
    top = (1 << 64) - 1
    good = {
        "empty": [5, 5],
        "one": [5, 6],
        "nothing": [0, 1],
        "everything": [0, top],
        "at-the-end": [top, top],
    }
    for name, pair in good.items():
        yield valid(name, "0003-R3", "ends where it starts, or later", range=pair, expected=pair)
    yield invalid("backwards", "0003-R3", "ends before it starts", range=[6, 5])
    yield invalid("negative", "0003-R1", "below zero", range=[-1, 5])
    yield invalid("beyond-64-bits", "0003-R1", "2^64", range=[0, 1 << 64])
    yield invalid("single", "0003-R3", "one number", range=[5])
    yield invalid("triple", "0003-R3", "three numbers", range=[5, 6, 7])
    yield invalid("floats", "0003-R1", "times are integers", range=[0.0, 1.0])
    yield invalid("texts", "0003-R1", "times are integers", range=["0", "1"])
    yield invalid("truths", "0003-R1", "true is no time", range=[False, True])


FILES: Final = (
    VectorFile(
        "0003", "time-keys-encoded", "time_key.encode", False, "Time keys", "A time to its key.", encoded
    ),
    VectorFile(
        "0003", "time-keys-decoded", "time_key.decode", False, "Time keys", "A key to its time.", decoded
    ),
    VectorFile("0003", "ranges", "range.check", False, "Ranges", "Pairs of times.", ranges),
)
