"""What the case files share: how a case is said, and bytes out of the Spaces that the reference SDK wrote."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from notation import to_json

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

SPACES: Final = Path(__file__).resolve().parents[1] / "spaces" / "reference-0.0.16"

Case = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VectorFile:
    """One file of vectors: the document it belongs to, the operation it asks for, and a function to its cases."""

    document: str
    name: str
    op: str
    codec: bool
    title: str
    about: str
    cases: Callable[[], Iterator[Case]]


def _case(
    result: str, name: str, requirement: str, comment: str, given: dict[str, Any], flags: Sequence[str]
) -> Case:
    return {
        "id": name,
        "requirement": requirement.split(),
        "comment": comment,
        "flags": list(flags),
        "input": {key: _said(key, item) for key, item in given.items()},
        "result": result,
    }


def _said(key: str, item: Any) -> Any:
    if key == "hex":
        return item.hex() if isinstance(item, bytes) else item
    return to_json(item)


NOTHING: Final = object()
MISSING: Final = object()


def valid(
    name: str,
    requirement: str,
    comment: str,
    /,
    *,
    expected: Any = NOTHING,
    flags: Sequence[str] = (),
    **given: Any,
) -> Case:
    """Return a case that must be accepted; without `expected`, generate.py fills in what comes out."""
    case = _case("valid", name, requirement, comment, given, flags)
    return case if expected is NOTHING else {**case, "expected": to_json(expected)}


def invalid(name: str, requirement: str, comment: str, /, *, flags: Sequence[str] = (), **given: Any) -> Case:
    """Return a case that must be refused."""
    return _case("invalid", name, requirement, comment, given, flags)


def reference(name: str, requirement: str, comment: str, /, **given: Any) -> Case:
    """Return a valid case whose bytes the reference SDK wrote."""
    return valid(name, requirement, comment, flags=["reference"], **given)


@cache
def space(name: str) -> dict[str, bytes]:
    """Return the files of a stored Space by their path below its root."""
    with tarfile.open(SPACES / f"{name}.tar.gz") as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        read = {member.name: archive.extractfile(member) for member in members}
        return {
            name.removeprefix("./").removeprefix("store/"): file.read() for name, file in read.items() if file
        }


def files(space_name: str, part: str) -> list[tuple[str, bytes]]:
    """Return the paths and bytes of a stored Space with this part in their path, shortest first."""
    found = [(path, data) for path, data in space(space_name).items() if part in f"/{path}"]
    assert found, f"{space_name} has no {part}"
    return sorted(found, key=lambda item: (len(item[1]), item[0]))


def smallest(space_name: str, part: str, nth: int = 0) -> bytes:
    """Return the bytes of the n-th smallest file with this part in its path."""
    return files(space_name, part)[nth][1]


def edited(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return bytes in which one stretch, which must be there once, is another."""
    assert data.count(old) == 1, f"{old.hex()} is there {data.count(old)} times"
    return data.replace(old, new)


def recoded(data: bytes, **changes: Any) -> bytes:
    """Return a CBOR map with other values under these keys; a value of MISSING takes the key away."""
    return encode_cbor(changed(decode_cbor(data), **changes))


def changed(fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a map with other values under these keys; a value of MISSING takes the key away."""
    merged = {**fields, **changes}
    return {key: item for key, item in merged.items() if item is not MISSING}
