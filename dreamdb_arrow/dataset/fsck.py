"""Fsck: is everything there, whole and in agreement, and can what is not be restored? Specs 0002, 0008 and 0021."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, address_of, is_address_text
from dreamdb_arrow.codec.outboard import encode_outboard
from dreamdb_arrow.columnar.cache import DEFAULT_ROOT
from dreamdb_arrow.dataset.agreement import check_rows
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.errors import DreamDBError, NotFoundError
from dreamdb_arrow.history.damage import Finding, Progress, Walk, read_objects, walk_refs, walk_version
from dreamdb_arrow.store.batch import OUTBOARDS
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.urls import open_store

_KEPT: Final = ("objects", "fetched/objects")  # where the local cache has objects, below its folder


@dataclass(slots=True)
class Checked:
    """What a check found.

    refs      how many Refs were followed
    versions  how many versions were read
    live      how many addresses these lead to
    findings  what is wrong
    repaired  paths of objects that were restored
    """

    refs: int = 0
    versions: int = 0
    live: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain values."""
        found = [{"path": f.path, "problem": f.problem, "live": f.live} for f in self.findings]
        counts = {"refs": self.refs, "versions": self.versions, "live": self.live}
        return {"ok": self.ok, **counts, "findings": found, "repaired": self.repaired}


def fsck(
    backend: Backend,
    refs: Iterable[str] | None = None,
    *,
    depth: int | None = None,
    rows: bool = True,
    repair_from: Sequence[Backend] = (),
    cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> Checked:
    """Check a Space: every object that is there, all that its Refs lead to, and the rows of their newest versions.

    Args:
        backend: a URL, a path or a store.
        refs: check only these and what they lead to.
        depth: how many versions behind each Ref to follow; None for all that are there. One that is missing ends the way, as
            `gc` may have removed it.
        rows: compare the rows of the newest versions in stripes and Tracks as well.
        repair_from: other backends, or folders of local caches, that may have what is damaged or missing. What is found there
            is restored, and checked again.
        cache_dir: where projections are kept.
        progress: is told how many objects of how many have been read.

    Raises StoreError when the store cannot be read, InvalidInputError for a backend that is none.
    """
    space = Space(backend, cache_dir=cache_dir)
    names = sorted(space.store.list_refs()) if refs is None else list(refs)
    checked = _check(space, names, depth, rows, only=refs is not None, progress=progress)
    if repair_from and checked.findings:
        repaired = _repair(space.store, checked.findings, [_source(place) for place in repair_from])
        space.forget()
        checked = _check(space, names, depth, rows, only=refs is not None, progress=progress)
        checked.repaired = repaired
    return checked


def verify(
    backend: Backend,
    ref: str,
    as_of: Any = None,
    *,
    cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
    progress: Progress | None = None,
) -> Checked:
    """Check one version, that a Ref, and perhaps `as_of`, name: all that it leads to, and its rows.

    Raises RefNotFoundError, and as fsck does.
    """
    space = Space(backend, cache_dir=cache_dir)
    walk = Walk()
    tip = space.resolve(ref, as_of)
    walk.tips.append(tip)
    walk_version(space.store, tip, walk, depth=0)
    return _checked(space, walk, only=True, rows=True, progress=progress)


def _check(
    space: Space,
    names: Sequence[str],
    depth: int | None,
    rows: bool,
    *,
    only: bool,
    progress: Progress | None,
) -> Checked:
    walk = walk_refs(space.store, names, depth)
    return _checked(space, walk, only=only, rows=rows, progress=progress)


def _checked(space: Space, walk: Walk, *, only: bool, rows: bool, progress: Progress | None) -> Checked:
    found = [*walk.findings, *read_objects(space.store, walk.reached, only, progress)]
    for tip in dict.fromkeys(walk.tips) if rows else ():
        found += _rows_of(space, tip)
    distinct = {finding.path: finding for finding in reversed(found)}
    ordered = sorted(distinct.values(), key=lambda finding: finding.path)
    return Checked(len(walk.tips), len(walk.versions), len(walk.reached.live), ordered)


def _rows_of(space: Space, tip: Address) -> list[Finding]:
    try:
        return list(check_rows(space.rows(tip)))
    except DreamDBError as error:
        return [Finding(getattr(error, "path", f"manifests/{tip}"), str(error))]


# --- repair -------------------------------------------------------------------------------------------------


class _Elsewhere:
    """Another backend that may have an object, at the same path or at another one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paths: dict[str, str] | None = None

    def path_of(self, name: str) -> str | None:
        """Return where it has an object of this address."""
        if self._paths is None:
            self._paths = {path.rpartition("/")[2]: path for path in self._store.list() if _is_object(path)}
        return self._paths.get(name)

    def read(self, path: str, name: str) -> bytes | None:
        """Return an object, not verified, or None."""
        for place in (path, self.path_of(name)):
            try:
                return None if place is None else self._store.get(place)
            except NotFoundError:
                continue
        return None


class _Folder:
    """A folder of a local cache."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, _: str) -> str | None:
        """Return None: a cache does not know where objects belong."""
        return None

    def read(self, _: str, name: str) -> bytes | None:
        """Return an object, not verified, or None."""
        for part in _KEPT:
            file = self._root / part / name[-2:] / name
            if file.is_file():
                return file.read_bytes()
        return None


def _source(place: Backend) -> _Elsewhere | _Folder:
    is_path = isinstance(place, os.PathLike) or (isinstance(place, str) and "://" not in place)
    if is_path and any((Path(place) / part).is_dir() for part in _KEPT):  # type: ignore[arg-type]
        return _Folder(Path(place))  # type: ignore[arg-type]
    return _Elsewhere(open_store(place))


def _is_object(path: str) -> bool:
    return not path.startswith(f"{OUTBOARDS}/") and is_address_text(path.rpartition("/")[2])


def _repair(store: Store, findings: Iterable[Finding], sources: Sequence[_Elsewhere | _Folder]) -> list[str]:
    """Restore what is damaged or missing from places that have it whole; return the paths."""
    done = []
    for finding in sorted(
        findings, key=lambda f: f.payload is not None
    ):  # outboards are made of whole payloads
        name = finding.path.rpartition("/")[2]
        path = finding.path if "/" in finding.path else _belongs(name, sources)
        data = _whole(store, finding, path, name, sources) if is_address_text(name) and path else None
        if data is not None and path is not None:
            store.delete(path)  # only now that its bytes are at hand
            store.put(path, data)
            done.append(path)
    return done


def _belongs(name: str, sources: Sequence[_Elsewhere | _Folder]) -> str | None:
    return next((path for source in sources if (path := source.path_of(name)) is not None), None)


def _whole(
    store: Store, finding: Finding, path: str | None, name: str, sources: Sequence[_Elsewhere | _Folder]
) -> bytes | None:
    if finding.payload is not None:
        data = store.get(finding.payload)
        return encode_outboard(data) if str(address_of(data)) == name else None
    for source in sources:
        found = source.read(path or "", name)
        if found is not None and str(address_of(found)) == name:
            return found
    return None
