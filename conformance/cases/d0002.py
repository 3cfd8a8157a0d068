"""Cases of 0002: canonical CBOR, addresses, outboards."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from cases.bao import outboard
from cases.kit import Case, VectorFile, invalid, space, valid

_HEADS: Final = "0002-R4"
_MAPS: Final = "0002-R5"
_FLOATS: Final = "0002-R6"
_KINDS: Final = "0002-R7"
_ALL: Final = "0002-R8"


# --- CBOR ---------------------------------------------------------------------------------------------------


def cbor() -> Iterator[Case]:
    """Canonical CBOR, both ways, and what is not canonical."""
    yield from _integers()
    yield from _strings()
    yield from _containers()
    yield from _numbers_and_truths()
    yield from _not_canonical()
    yield from _not_well_formed()


def _integers() -> Iterator[Case]:
    borders = [0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 53) + 1, (1 << 64) - 1]
    for number in borders:
        yield valid(
            f"unsigned-{number}", _HEADS, "an unsigned integer", hex=_head(0, number), expected=number
        )
        yield valid(
            f"negative-{number}",
            _HEADS,
            f"-1 - {number}: an integer below zero",
            hex=_head(1, number),
            expected=-1 - number,
        )


def _strings() -> Iterator[Case]:
    yield valid("bytes-none", _HEADS, "no bytes", hex="40", expected=b"")
    yield valid("bytes-one", _HEADS, "one byte", hex="41ff", expected=b"\xff")
    yield valid("bytes-24", _HEADS, "the first length that needs a byte", hex=b"\x58\x18" + bytes(24))
    yield valid("text-none", _HEADS, "no text", hex="60", expected="")
    yield valid("text-ascii", _HEADS, "four letters", hex="6449455446", expected="IETF")
    yield valid("text-two-bytes", _HEADS, "a letter of two bytes", hex="62c3bc", expected="\u00fc")
    yield valid(
        "text-beyond-16-bits", _HEADS, "a character of four bytes", hex="64f0908591", expected="\U00010151"
    )
    yield valid("text-nul", _HEADS, "a zero is a character like others", hex="6100", expected="\0")


def _containers() -> Iterator[Case]:
    yield valid("array-empty", _HEADS, "no items", hex="80", expected=[])
    yield valid("array-nested", _HEADS, "arrays in an array", hex="8301820203820405")
    yield valid("array-24", _HEADS, "the first count that needs a byte", hex=b"\x98\x18" + bytes(24))
    yield valid("map-empty", _MAPS, "no pairs", hex="a0", expected={})
    yield valid("map-shorter-key-first", _MAPS, "z comes before aa", hex="a2617a0162616102")
    yield valid("map-empty-key", _MAPS, "the empty key comes first of all", hex="a26001616102")
    yield valid("map-same-length-bytewise", _MAPS, "of one length by their bytes", hex="a3614101615a02616103")
    yield valid(
        "map-key-with-dollar", _MAPS, "a key like the marks of the notation", hex="a1662462797465736161"
    )
    yield valid(
        "map-24",
        _MAPS,
        "24 keys",
        hex=b"\xb8\x18" + b"".join(b"\x61" + bytes([97 + n, n]) for n in range(24)),
    )
    yield valid("depth-64", _ALL, "as deep as may be: 64 arrays in one another", hex=b"\x81" * 63 + b"\x80")
    yield valid(
        "genesis",
        _ALL,
        "a map with 16 bytes",
        hex="a1656e6f6e636550b07fcb2bb0d9f43b61437761229fef2f",
        flags=["reference"],
    )


def _numbers_and_truths() -> Iterator[Case]:
    yield valid("false", _KINDS, "false", hex="f4", expected=False)
    yield valid("true", _KINDS, "true", hex="f5", expected=True)
    yield valid("null", _KINDS, "null", hex="f6", expected=None)
    halves = {
        "zero": 0.0,
        "minus-zero": -0.0,
        "one": 1.0,
        "half-largest": 65_504.0,
        "half-smallest": 2.0**-24,
    }
    for name, number in halves.items():
        yield valid(f"float-{name}", _FLOATS, "two bytes keep it", hex=b"\xf9" + struct.pack(">e", number))
    singles = {"beyond-half": 65_505.0, "single-smallest": 2.0**-149, "single-largest": 3.4028234663852886e38}
    for name, number in singles.items():
        yield valid(f"float-{name}", _FLOATS, "four bytes keep it", hex=b"\xfa" + struct.pack(">f", number))
    doubles = {"tenth": 0.1, "beyond-single": 1e300, "double-smallest": 5e-324}
    for name, number in doubles.items():
        yield valid(f"float-{name}", _FLOATS, "it takes eight bytes", hex=b"\xfb" + struct.pack(">d", number))
    yield valid("float-infinity", _FLOATS, "infinity is shortest in two bytes", hex="f97c00")
    yield valid("float-minus-infinity", _FLOATS, "below all", hex="f9fc00")
    yield valid("float-nan", _FLOATS, "the only NaN there is", hex="f97e00")


def _not_canonical() -> Iterator[Case]:
    for size, encoded in {1: "1817", 2: "190017", 4: "1a00000017", 8: "1b0000000000000017"}.items():
        yield invalid(f"head-longer-by-{size}", _HEADS, "23 fits into the first byte", hex=encoded)
    yield invalid("head-two-bytes-for-one", _HEADS, "255 fits into one byte", hex="1900ff")
    yield invalid("head-four-bytes-for-two", _HEADS, "65535 fits into two", hex="1a0000ffff")
    yield invalid("head-eight-bytes-for-four", _HEADS, "2^32 - 1 fits into four", hex="1b00000000ffffffff")
    yield invalid("negative-head-not-shortest", _HEADS, "-1 fits into the first byte", hex="3800")
    yield invalid(
        "bytes-length-not-shortest", _HEADS, "one byte, its length in a byte of its own", hex="5801ff"
    )
    yield invalid("text-length-not-shortest", _HEADS, "the same with text", hex="780161")
    yield invalid("array-count-not-shortest", _HEADS, "the same with an array", hex="980100")
    yield invalid("map-count-not-shortest", _HEADS, "the same with a map", hex="b801616100")
    yield invalid("array-of-indefinite-length", _HEADS, "ends by a break", hex="9f01ff")
    yield invalid("map-of-indefinite-length", _HEADS, "ends by a break", hex="bf616101ff")
    yield invalid("bytes-in-pieces", _HEADS, "an indefinite byte string", hex="5f4101ff")
    yield invalid("text-in-pieces", _HEADS, "an indefinite text", hex="7f6161ff")
    yield invalid("keys-out-of-order", _MAPS, "b before a", hex="a2616201616102")
    yield invalid("longer-key-first", _MAPS, "aa before z", hex="a262616101617a02")
    yield invalid("key-twice", _MAPS, "two values for one key", hex="a2616101616102")
    yield invalid("pair-twice", _MAPS, "the same pair again", hex="a2616101616101")
    yield invalid("key-integer", _MAPS, "a key that is not text", hex="a10102")
    yield invalid("key-bytes", _MAPS, "a key that is bytes", hex="a1416102")
    yield invalid("float-half-as-single", _FLOATS, "1.0 in four bytes", hex="fa3f800000")
    yield invalid("float-half-as-double", _FLOATS, "1.0 in eight bytes", hex="fb3ff0000000000000")
    yield invalid("float-single-as-double", _FLOATS, "65505.0 in eight bytes", hex="fb40effc2000000000")
    yield invalid("nan-with-payload", _FLOATS, "another NaN", hex="f97e01")
    yield invalid("nan-negative", _FLOATS, "another NaN", hex="f9fe00")
    yield invalid("nan-single", _FLOATS, "NaN in four bytes", hex="fa7fc00000")
    yield invalid("tag", _KINDS, "a tag for a time", hex="c11a514b67b0")
    yield invalid("tag-bignum", _KINDS, "an integer as a tagged byte string", hex="c24101")
    yield invalid("undefined", _KINDS, "undefined is no value here", hex="f7")
    yield invalid("simple-value", _KINDS, "simple value 16", hex="f0")
    yield invalid("simple-value-in-a-byte", _KINDS, "simple value 255", hex="f8ff")
    yield invalid("false-in-a-byte", _KINDS, "false the long way", hex="f814")
    yield invalid("bytes-after-the-value", _KINDS, "two values", hex="0000")


def _not_well_formed() -> Iterator[Case]:
    yield invalid("nothing", _ALL, "no bytes at all", hex="")
    yield invalid("depth-65", _ALL, "one array too deep", hex=b"\x81" * 64 + b"\x80")
    yield invalid(
        "depth-100000", "0002-R8 0000-R2", "a hundred thousand arrays", hex=[["81", 100_000], ["80", 1]]
    )
    yield invalid("cut-head", _ALL, "the head says two bytes follow", hex="1901")
    yield invalid("cut-bytes", _ALL, "two bytes said, one there", hex="42ff")
    yield invalid("cut-text", _ALL, "two letters said, one there", hex="6261")
    yield invalid("cut-array", _ALL, "two items said, one there", hex="8201")
    yield invalid("cut-map", _ALL, "a key without a value", hex="a16161")
    yield invalid("text-not-utf8", _ALL, "a stray continuation byte", hex="6180")
    yield invalid("text-surrogate", _ALL, "half of a surrogate pair", hex="63eda080")
    yield invalid("text-overlong", _ALL, "a slash in two bytes", hex="62c0af")
    yield invalid("break-alone", _ALL, "a break outside", hex="ff")
    yield invalid("reserved-head", _ALL, "additional information 28", hex="1c")
    yield invalid(
        "count-beyond-the-bytes", "0002-R8 0000-R2", "2^60 items in nine bytes", hex="9b1000000000000000"
    )
    yield invalid("map-count-beyond-the-bytes", "0002-R8 0000-R2", "2^60 pairs", hex="bb1000000000000000")
    yield invalid("length-beyond-the-bytes", "0002-R8 0000-R2", "2^63 bytes", hex="5b8000000000000000")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    return bytes([major << 5 | 27]) + number.to_bytes(8, "big")


# --- addresses ----------------------------------------------------------------------------------------------

_GENESIS: Final = "d2z2wzwskrp6zadjojgpvdnxcegljzino3pkzpnbh7e6n66ud3cjo"


def hashes() -> Iterator[Case]:
    """Bytes to their name."""
    sizes = (
        0,
        1,
        63,
        64,
        65,
        1023,
        1024,
        1025,
        2048,
        2049,
        3072,
        3073,
        4096,
        4097,
        5000,
        8193,
        31_744,
        102_400,
    )
    for size in sizes:
        yield valid(f"length-{size}", "0002-R1", f"{size} bytes, byte i is i mod 251", length=size)
    yield valid(
        "genesis",
        "0002-R1",
        "a Genesis",
        hex="a1656e6f6e636550b07fcb2bb0d9f43b61437761229fef2f",
        expected=_GENESIS,
        flags=["reference"],
    )
    for name in ("author.json", "title.text", "license.spdx"):
        path = next(path for path in space("evolution-meta") if f"/{name}/d" in path)
        yield valid(
            f"constant-{name.replace('.', '-')}",
            "0002-R1 0002-R11",
            "its name is the last segment of its path",
            hex=space("evolution-meta")[path],
            expected=path.rpartition("/")[2],
            flags=["reference"],
        )


def addresses() -> Iterator[Case]:
    """33 bytes and 53 characters."""
    names = {"of-genesis": _GENESIS, "of-leaf": "d3e62c67elrvqjelgp6m24zktqfonzqhqw4qwrqkbi2d2lxtgkdwe"}
    for name, text in names.items():
        yield valid(name, "0002-R2", "both forms", hex=_unbase(text), expected=text, flags=["reference"])
    yield valid("all-zero", "0002-R2", "0x1e and 32 zeros", hex=b"\x1e" + bytes(32))
    yield valid("all-one", "0002-R2", "0x1e and 32 bytes ff", hex=b"\x1e" + b"\xff" * 32)
    yield invalid("32-bytes", "0002-R2", "a byte short", hex=b"\x1e" + bytes(31))
    yield invalid("34-bytes", "0002-R2", "a byte long", hex=b"\x1e" + bytes(33))
    yield invalid("no-bytes", "0002-R2", "nothing", hex="")
    yield invalid("another-hash", "0002-R2", "0x12 is SHA-256", hex=b"\x12" + bytes(32))
    yield invalid("digest-alone", "0002-R2", "the digest without its code", hex=bytes(32))


def address_texts() -> Iterator[Case]:
    """Texts that are none, and one that is."""
    yield valid("genesis", "0002-R2", "as it stands in a path", value=_GENESIS, flags=["reference"])
    bad = {
        "upper-case": (_GENESIS.upper(), "base32 in upper case"),
        "one-letter-upper": (_GENESIS[:-1] + _GENESIS[-1].upper(), "one letter in upper case"),
        "padded": (_GENESIS + "===", "with padding"),
        "short": (_GENESIS[:-1], "52 characters"),
        "long": (_GENESIS + "a", "54 characters"),
        "empty": ("", "nothing"),
        "digit-of-no-base32": (_GENESIS[:-1] + "1", "1 is no digit of base32"),
        "unused-bit-set": (_GENESIS[:-1] + "p", "53 characters carry a bit more than 33 bytes"),
        "another-first-letter": ("e" + _GENESIS[1:], "the code would be another"),
        "space": (" " + _GENESIS[1:], "a blank"),
        "not-ascii": (_GENESIS[:-1] + "\u00e9", "a letter that is not ASCII"),
        "newline": (_GENESIS[:-1] + "\n", "a line end"),
    }
    for name, (text, comment) in bad.items():
        yield invalid(name, "0002-R2", comment, value=text)


def _unbase(text: str) -> bytes:
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    number = 0
    for character in text:
        number = number << 5 | digits.index(character)
    return (number >> 1).to_bytes(33, "big")


# --- outboards ----------------------------------------------------------------------------------------------


def outboards() -> Iterator[Case]:
    """The hash tree above a payload."""
    sizes = (0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 4096, 5000, 5120, 7168, 8192, 15_360, 31_744)
    for size in sizes:
        chunks = max(1, -(-size // 1024))
        comment = f"{size} bytes, byte i is i mod 251: {chunks} chunks, {chunks - 1} inner nodes"
        yield valid(f"length-{size}", "0002-R9", comment, hex=_outboard(size), payload_length=size)
    whole = _outboard(3072)
    yield invalid(
        "length-wrong", "0002-R3", "says 3073 bytes", hex=b"\x01\x0c" + whole[2:], payload_length=3072
    )
    yield invalid(
        "length-big-endian",
        "0002-R9",
        "the length the other way round",
        hex=whole[7::-1] + whole[8:],
        payload_length=3072,
    )
    swapped = whole[:8] + whole[40:72] + whole[8:40] + whole[72:]
    yield invalid("children-swapped", "0002-R3", "right before left", hex=swapped, payload_length=3072)
    yield invalid(
        "nodes-in-post-order",
        "0002-R9",
        "the root last",
        hex=whole[:8] + whole[72:] + whole[8:72],
        payload_length=3072,
    )
    yield invalid("cut", "0002-R3", "a byte short", hex=whole[:-1], payload_length=3072)
    yield invalid(
        "of-another-payload",
        "0002-R3",
        "that of 3072 other bytes",
        hex=whole[:8] + bytes(128),
        payload_length=3072,
    )


def _outboard(size: int) -> bytes:
    return outboard((bytes(range(251)) * (size // 251 + 1))[:size])


FILES: Final = (
    VectorFile("0002", "cbor", "cbor", True, "Canonical CBOR", "Bytes to values and back.", cbor),
    VectorFile(
        "0002",
        "hashes",
        "address.hash",
        False,
        "Addresses of bytes",
        "Bytes to their address as text.",
        hashes,
    ),
    VectorFile(
        "0002", "addresses", "address", True, "Addresses", "33 bytes to their text form and back.", addresses
    ),
    VectorFile(
        "0002",
        "address-texts",
        "address.encode",
        False,
        "Texts of addresses",
        "Text to 33 bytes.",
        address_texts,
    ),
    VectorFile(
        "0002",
        "outboards",
        "outboard",
        True,
        "Bao outboards",
        "Outboards of payloads of so many bytes.",
        outboards,
    ),
)
