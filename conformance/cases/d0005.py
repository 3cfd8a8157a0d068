"""Cases of 0005: names of Refs, paths of Objects, contents of Refs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cases.kit import Case, VectorFile, invalid, reference, space, valid


def names() -> Iterator[Case]:
    """Names of Refs."""
    good = ("main", "a", "shard/0", "main@v1", "a-b_c/d@e", "0", "x" * 64, "/".join("abcdefgh"), "@", "-")
    for nth, name in enumerate(good):
        yield valid(f"name-{nth}", "0005-R6", "segments of 1 to 64 characters", name=name, expected=name)
    bad = {
        "empty": "",
        "upper-case": "Main",
        "dot": "a.b",
        "parent-directory": "..",
        "current-directory": ".",
        "slash-first": "/main",
        "slash-last": "main/",
        "slash-twice": "a//b",
        "segment-of-65": "x" * 65,
        "blank": "a b",
        "backslash": "a\\b",
        "not-ascii": "\u00e9t\u00e9",
        "line-end": "main\n",
        "nul": "main\0",
        "hidden": ".main",
        "tilde": "main~1",
    }
    for name, text in bad.items():
        yield invalid(name, "0005-R6", "no such name", name=text)


def paths() -> Iterator[Case]:
    """Paths of Objects."""
    for nth, path in enumerate(("genesis/x", "tl/image.png/0000000000000000/x", "a", "x.lock")):
        yield valid(f"path-{nth}", "0005-R3", "relative, of plain segments", path=path, expected=path)
    bad = {
        "empty": "",
        "absolute": "/genesis/x",
        "parent-directory": "a/../b",
        "current-directory": "a/./b",
        "slash-last": "a/",
        "slash-twice": "a//b",
        "below-refs": "refs/main",
        "refs": "refs",
        "backslash": "a\\b",
        "nul": "a\0b",
        "line-end": "a\nb",
    }
    for name, text in bad.items():
        yield invalid(name, "0005-R3", "no path of an Object", path=text)


def contents() -> Iterator[Case]:
    """What a Ref holds."""
    refs = {path: data for path, data in space("branch-merge").items() if path.startswith("refs/")}
    for path in sorted(refs)[:3]:
        name = path.removeprefix("refs/").replace("/", "-").replace("@", "-at-")
        yield reference(name, "0005-R7", "an address and nothing else", hex=refs[path])
    whole = refs["refs/main"]
    yield invalid("empty", "0005-R7", "no bytes", hex="")
    yield invalid(
        "text-form",
        "0005-R7",
        "the address as text",
        hex=b"d2z2wzwskrp6zadjojgpvdnxcegljzino3pkzpnbh7e6n66ud3cjo",
    )
    yield invalid("line-end", "0005-R7", "a line end behind it", hex=whole + b"\n")
    yield invalid("cut", "0005-R7", "a byte short", hex=whole[:-1])
    yield invalid("zeros", "0005-R7", "33 zeros, as a crash may leave", hex=bytes(33))


FILES: Final = (
    VectorFile(
        "0005",
        "ref-names",
        "ref_name.check",
        False,
        "Names of Refs",
        "A name, given back when it is one.",
        names,
    ),
    VectorFile(
        "0005",
        "object-paths",
        "object_path.check",
        False,
        "Paths",
        "A path, given back when an Object may lie there.",
        paths,
    ),
    VectorFile("0005", "refs", "ref", True, "Refs", "The bytes of a Ref to the address it holds.", contents),
)
