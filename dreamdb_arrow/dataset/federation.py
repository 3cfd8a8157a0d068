"""Federations: Refs of several Spaces, read as one. Spec 0012.

A federation is a JSON document that lists its members: for each a name, where its Space is, which Ref is meant, and where else
copies of the Space are. It names versions by Refs, so it stays as it is when members move on.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.dataset.schema import arrow_schema
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, LayoutError, NotFoundError, StoreError
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.names import check_ref_name
from dreamdb_arrow.store.urls import open_store

KIND: Final = "dreamdb.federation"
VERSION: Final = 1
SOURCE: Final = "_source"
SUFFIX: Final = ".json"
DOWN_SECONDS: Final = 30.0  # for so long a place that did not answer is asked last
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEYS: Final = {"name", "url", "ref"}
_TAKEN: Final = frozenset({"main", "temp", "system", "information_schema", "pg_catalog"})  # schemas of DuckDB
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """A Ref of a Space that a federation reads.

    name     what rows of it have in `_source`
    url      where its Space is
    ref      a dataset, a branch or a snapshot
    mirrors  where else the Space is, in the order in which they are asked when it does not answer
    """

    name: str
    url: str
    ref: str
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _TAKEN:  # 0012-R4
            raise InvalidInputError(
                f"not a member's name: {self.name!r:.60}; use up to 40 of a-z, 0-9 and _, a letter first"
            )
        check_ref_name(self.ref)

    @property
    def places(self) -> tuple[str, ...]:
        """Where its Space is, best first."""
        return (self.url, *self.mirrors)


# --- the document -------------------------------------------------------------------------------------------


def encode_federation(members: Sequence[Member]) -> bytes:
    """Return the document of a federation."""
    listed = [
        {"name": m.name, "url": m.url, "ref": m.ref} | ({"mirrors": list(m.mirrors)} if m.mirrors else {})
        for m in _checked(members)
    ]
    return (json.dumps({"kind": KIND, "version": VERSION, "members": listed}, indent=2) + "\n").encode()


def decode_federation(data: bytes) -> tuple[Member, ...]:
    """Return the members that a document lists. Raises LayoutError, UnsupportedError for a later version."""
    try:
        said = json.loads(data)
        if said["kind"] != KIND or said["version"] != VERSION:  # 0012-R3
            raise LayoutError(f"a federation has kind {KIND!r} and version {VERSION}")
        return _checked([_member_of(one) for one in said["members"]])
    except (ValueError, TypeError, KeyError, InvalidInputError) as error:
        raise LayoutError(f"not a federation: {str(error) or type(error).__name__:.200}") from None


def _member_of(said: Any) -> Member:
    if not isinstance(said, dict) or not set(said) >= _KEYS or not set(said) <= {*_KEYS, "mirrors"}:
        raise LayoutError("a member has name, url and ref, and perhaps mirrors")
    texts = [said["name"], said["url"], said["ref"], *said.get("mirrors", ())]
    if not all(isinstance(text, str) for text in texts):
        raise LayoutError("what a member says is text")
    name, url, ref, *mirrors = texts
    return Member(name, url, ref, tuple(mirrors))


def _checked(members: Sequence[Member]) -> tuple[Member, ...]:
    names = [m.name for m in members]
    if not names or len(set(names)) < len(names):  # 0012-R4
        raise InvalidInputError("a federation has at least one member, each with a name of its own")
    return tuple(members)


def read_federation(url: str | os.PathLike[str]) -> tuple[Member, ...]:
    """Return the members of the federation whose document lies here: a file, or an object of a bucket."""
    store, name = _place_of(url)
    try:
        return decode_federation(store.get(name))
    except NotFoundError:
        raise NotFoundError(f"no federation at {os.fspath(url)}") from None


def write_federation(url: str | os.PathLike[str], members: Sequence[Member]) -> None:
    """Write the document of a federation. Raises InvalidInputError when another one lies there."""
    store, name = _place_of(url)
    data = encode_federation(members)
    if store.exists(name) and store.get(name) != data:
        raise InvalidInputError(f"{os.fspath(url)} is there already; remove it first, or choose another name")
    store.put(name, data)


def _place_of(url: str | os.PathLike[str]) -> tuple[Store, str]:
    folder, separator, name = os.fspath(url).rpartition("/")
    if not name.endswith(SUFFIX):
        raise InvalidInputError(f"not a federation: {os.fspath(url)!r}; its name ends in {SUFFIX}")
    return open_store(folder + ("/" if separator and not folder else "") or "."), name


def place_url(place: str | os.PathLike[str]) -> str:
    """Return a place as a document names it: a path, which another process may see otherwise, in full."""
    text = os.fspath(place)
    return text if "://" in text else f"file://{Path(text).expanduser().absolute()}"


# --- members that answer ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """What became of a member: the place that answered with its version, or what each place said instead."""

    member: Member
    place: str | None = None
    version: Address | None = None
    errors: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "name": self.member.name,
            "ref": self.member.ref,
            "place": self.place,
            "mirror": self.place is not None and self.place != self.member.url,
            "manifest": None if self.version is None else str(self.version),
            "errors": [f"{place}: {error}" for place, error in self.errors.items()],
        }


class Places:
    """The Spaces behind the members of a federation, each opened once. Safe to share between threads."""

    def __init__(self, members: Sequence[Member], **options: Any) -> None:
        self.members = tuple(members)
        self._options = options
        self._spaces: dict[str, Space] = {}
        self._down: dict[str, float] = {}
        self._lock = Lock()

    def space(self, place: str) -> Space:
        """Return the Space at a place. Raises NotFoundError, InvalidInputError."""
        with self._lock:
            if place not in self._spaces:
                self._spaces[place] = Space(place, **self._options)
            return self._spaces[place]

    def ask(
        self, member: Member, work: Callable[[str, RowSet], T], as_of: object = None
    ) -> tuple[T | None, Answer]:
        """Return what the function gives for a member's rows at the first place where it succeeds, and how that went.

        A wrong question (InvalidInputError) is no reason to ask elsewhere, and is raised.
        """
        answer = Answer(member)
        for place in sorted(member.places, key=self._is_down):  # 0012-R5
            try:
                space = self.space(place)
                version = space.resolve(member.ref, as_of)
                found = work(place, space.rows(version))
            except InvalidInputError:
                raise
            except (DreamDBError, OSError) as error:
                answer.errors[place] = str(error)
                if isinstance(error, StoreError | OSError):
                    self._down[place] = time.monotonic()
                continue
            self._down.pop(place, None)
            answer.place, answer.version = place, version
            return found, answer
        return None, answer

    def _is_down(self, place: str) -> bool:
        return time.monotonic() - self._down.get(place, -DOWN_SECONDS) < DOWN_SECONDS


def common_schema(answers: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns of all members, by name. Raises InvalidInputError when two members differ in a column's type."""
    found: dict[str, tuple[str, pa.Field]] = {}
    for name, schema in answers:
        for column in schema:
            who, other = found.setdefault(column.name, (name, column))
            if other.type != column.type:  # 0012-R6
                raise InvalidInputError(
                    f"field {column.name!r} is {other.type} in member {who!r} and {column.type} in {name!r}; give it another "
                    "name in one of them, or leave that member out"
                )
    columns = [pa.field(c.name, c.type) for _, c in found.values()]
    return pa.schema([pa.field(SOURCE, pa.string()), *columns])


def row_schema(rows: RowSet) -> pa.Schema:
    """Return the columns that a member's rows have."""
    return arrow_schema(f for f in rows.fields if f.name not in rows.unavailable)


def refuse_missing(answers: Iterable[Answer], url: str) -> None:
    """Raise StoreError unless all members answered."""
    for answer in answers:
        if answer.place is None:  # 0012-R7
            said = "; ".join(f"{place}: {error}" for place, error in answer.errors.items())
            raise StoreError(
                f"member {answer.member.name!r} of {url} does not answer: {said}", retryable=True
            )


def told(answers: Iterable[Answer]) -> list[Mapping[str, Any]]:
    """Return how each member fared, as plain values."""
    return [answer.as_dict() for answer in answers]
