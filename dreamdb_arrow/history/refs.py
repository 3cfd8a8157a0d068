"""Names of versions: branches, snapshots, and how a user may spell a version. Spec 0008.

A dataset, a branch and a snapshot are all Refs; a snapshot is a Ref called `<ref>@<label>` that does not move.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from dreamdb_arrow.codec.address import Address, is_address_text, parse_address
from dreamdb_arrow.errors import (
    InvalidInputError,
    NotFoundError,
    ObjectNotFoundError,
    RefConflictError,
    RefExistsError,
    RefNotFoundError,
    StoreError,
)
from dreamdb_arrow.history.ancestry import is_ancestor
from dreamdb_arrow.history.line import newest_until
from dreamdb_arrow.history.manifests import hold_version
from dreamdb_arrow.store.interface import Absent, Ref, Store, holds
from dreamdb_arrow.store.names import check_ref_name, is_ref_name
from dreamdb_arrow.store.readback import swap_confirmed

_DIGITS: Final = re.compile(r"\d{1,19}")
_DECIMALS: Final = re.compile(r"(.*:\d\d)\.(\d{1,9})(Z|[+-][\d:]*|)")
_SECOND_NS: Final = 1_000_000_000


def resolve_ref(store: Store, name: str) -> Address:
    """Return what a Ref names. Raises RefNotFoundError with the names there are, InvalidInputError for no name."""
    return read_tip(store, name).address


def read_tip(store: Store, name: str) -> Ref:
    """Return a Ref that must be there. Raises as resolve_ref does."""
    found = store.read_ref(check_ref_name(name))
    if isinstance(found, Absent):
        raise RefNotFoundError(name, store.list_refs())
    return found


def create_branch(store: Store, name: str, address: Address) -> None:
    """Make a Ref that must not exist yet, and moves with commits.

    Raises RefExistsError when it does exist, InvalidInputError for a name that a snapshot would have.
    """
    if "@" in name:
        raise InvalidInputError(f"not a branch: {name[:100]!r}; '@' stands in names of snapshots only")
    _create_ref(store, name, address)


def _create_ref(store: Store, name: str, address: Address) -> None:
    check_ref_name(name)
    hold_version(store, address)
    try:
        store.swap_ref(name, Absent(), address)  # 0008-R1, 0008-R2
    except RefConflictError as error:
        raise RefExistsError(name, error.found) from None
    except StoreError:  # a lost answer is not a lost race
        if not _went_through(store, name, Absent(), address):
            raise


def swap_settled(store: Store, name: str, expect: Ref | Absent, new: Address) -> bool:
    """Swap a ref; return True when it went through, even if others have gone on from there, False when others were faster.

    Raises StoreError when neither can be said: the request may be under way still.
    """
    try:
        return swap_confirmed(store, name, expect, new)
    except StoreError:
        found = _went_through(store, name, expect, new)
        if found is None:
            raise
        return found


def _went_through(store: Store, name: str, expect: Ref | Absent, new: Address) -> bool | None:
    """Whether a swap without an answer took place; None when it still may.

    A ref that moved on tells: it cannot come back to what was expected, so either the new version lies behind it or never will.
    """
    found = store.read_ref(name)
    if isinstance(found, Absent) or holds(found, expect):
        return None
    return is_ancestor(store, new, found.address)  # 0005-R9


def delete_ref(store: Store, name: str) -> None:
    """Remove a branch or a snapshot; the versions that it named stay until they are collected.

    The last of them is as young as a new one, so that whoever reads it, or regrets, has time.
    Raises RefNotFoundError when there is none, RefConflictError when it moved meanwhile.
    """
    found = read_tip(store, name)
    with suppress(ObjectNotFoundError):  # a Ref that names nothing goes all the more
        hold_version(store, found.address)
    if not swap_confirmed(store, name, found, Absent()):
        raise RefConflictError(name, str(found), str(store.read_ref(name)))


def create_snapshot(store: Store, ref: str, label: str, address: Address) -> str:
    """Name a version `<ref>@<label>` for good and return that name.

    Raises RefExistsError when the label already names another version; naming the same one again is fine.
    """
    name = snapshot_name(ref, label)
    try:
        _create_ref(store, name, address)
    except RefExistsError as error:
        found = store.read_ref(name)
        if not (isinstance(found, Ref) and found.address == address):
            raise RefExistsError(name, str(found)) from error
    return name


def snapshot_name(ref: str, label: str) -> str:
    """Return the Ref of a snapshot; a label that already names a snapshot of this Ref stays as it is."""
    name = label if label.startswith(f"{ref}@") else f"{ref.split('@', maxsplit=1)[0]}@{label}"
    if not is_ref_name(name) or name.endswith("@"):
        raise InvalidInputError(
            f"not a snapshot label: {label[:100]!r}; use letters a-z, digits, '_' and '-', 64 at most with the ref's name"
        )
    return name


def resolve_as_of(store: Store, ref: str, as_of: object) -> Address:
    """Return the version of a Ref that `as_of` names.

    Args:
        store: where the Space lives.
        ref: the Ref that is asked for.
        as_of: a snapshot label, `ref@label`, the text form of a Manifest address, or a time: a datetime, an
            ISO 8601 text, or nanoseconds since 1970. A time gives the last version published up to then.
    """
    if isinstance(as_of, datetime | int):
        return _at_time(store, ref, _as_ns(as_of))
    text = str(as_of)
    if is_address_text(text):
        return parse_address(text)
    for name in (
        (text, f"{ref.split('@', maxsplit=1)[0]}@{text}")
        if "@" in text
        else (f"{ref.split('@', maxsplit=1)[0]}@{text}",)
    ):
        if is_ref_name(name) and isinstance(found := store.read_ref(name), Ref):
            return found.address
    time_ns = parse_time_ns(text)
    if time_ns is None:
        raise RefNotFoundError(snapshot_name(ref, text), store.list_refs(f"{ref.split('@', maxsplit=1)[0]}@"))
    return _at_time(store, ref, time_ns)


def parse_time_ns(text: str) -> int | None:
    """Return the nanoseconds since 1970 that a text tells, UTC unless it has an offset; None if it tells no time.

    Digits are nanoseconds already. A timestamp may have nine decimals, of which `datetime` would keep six.
    """
    if text.isdigit():
        return int(text) if _DIGITS.fullmatch(text) else None
    matched = _DECIMALS.fullmatch(text)
    whole, fraction, offset = matched.groups() if matched else (text, "0", "")
    try:
        return _as_ns(datetime.fromisoformat(whole + offset)) + int(fraction.ljust(9, "0"))
    except ValueError:
        return None


def _as_ns(time: datetime | int) -> int:
    if isinstance(time, int):
        return time
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    whole = int(aware.replace(microsecond=0).timestamp())
    return whole * _SECOND_NS + aware.microsecond * 1000


def _at_time(store: Store, ref: str, time_ns: int) -> Address:
    found = newest_until(store, resolve_ref(store, ref), time_ns)  # 0008-R16
    if found is None:
        raise NotFoundError(f"ref {ref!r} has no version as old as {time_ns} ns")
    return found
