"""Check a Space, or one version of it, and bring back what is lost. Specs 0002, 0005, 0006 and 0008."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.dataset.shown_values import other_values
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.errors import CorruptDataError, DreamDBError, UnsupportedError
from dreamdb_arrow.history import fsck as checks
from dreamdb_arrow.history.fsck import Finding, Progress, Report
from dreamdb_arrow.history.manifests import manifest_path
from dreamdb_arrow.history.refs import resolve_as_of, resolve_ref
from dreamdb_arrow.history.repair import repair
from dreamdb_arrow.store.interface import Ref, Store
from dreamdb_arrow.store.urls import open_store

MANIFEST: Final = "manifest"


def fsck(
    backend: Backend,
    refs: Sequence[str] | None = None,
    *,
    unreachable: bool = False,
    repair_from: Sequence[Backend] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check all that Refs lead to, with their histories: hashes, form, counts, order, outboards, stripes against Tracks.

    Args:
        backend: a URL, a path or a store.
        refs: which Refs; None for all.
        unreachable: look also at objects that nothing leads to.
        repair_from: where bytes may be that are damaged or missing here: other backends, or folders with files named by
            addresses. What is found there is put back. An empty list makes outboards anew only. None: nothing is written.
        progress: is told the stage, `versions`, `objects` or `rows`, and how many it has seen.

    Returns a dict: `refs`, `versions`, `objects`, `size_bytes`, `unreachable`, `skipped`, `restored` (paths), and
    `findings`: `path`, `address`, `kind` and `wrong` of each; after a repair, of what is still wrong.
    """
    store = open_store(backend)
    report = checks.fsck(store, refs, unreachable=unreachable, progress=progress)
    restored: list[str] = []
    sources = [open_store(source) for source in repair_from or ()]
    while repair_from is not None and report.findings:
        more, _ = repair(store, report.findings, sources)
        if not more or set(more) <= set(restored):
            break
        restored += more
        report = checks.fsck(
            store, refs, unreachable=unreachable, progress=progress
        )  # what lay behind is seen now
    names = store.list_refs() if refs is None else refs
    return _told(store, report, restored, _tips(store, names))


def verify(
    backend: Backend, ref: str, as_of: object = None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Check one version as `fsck` does, without those before it: that of a Ref, or the one that `as_of` names."""
    store = open_store(backend)
    version = resolve_ref(store, ref) if as_of is None else resolve_as_of(store, ref, as_of)
    return _told(store, checks.fsck(store, (), [version], history=False, progress=progress), [], [version])


def _told(store: Store, report: Report, restored: list[str], versions: Sequence[Address]) -> dict[str, Any]:
    if not report.findings:  # rows of what is damaged say nothing
        space = Space(store, cache_dir=None)
        report.findings += [
            found for version in dict.fromkeys(versions) for found in _other_values(space, version)
        ]
    return {**asdict(report), "restored": restored}


def _tips(store: Store, names: Sequence[str]) -> list[Address]:
    found = []
    for name in names:
        with suppress(CorruptDataError):  # it is told already, or a tag of another SDK
            ref = store.read_ref(name)
            found += [ref.address] if isinstance(ref, Ref) else []
    return found


def _other_values(space: Space, version: Address) -> list[Finding]:
    try:
        found = list(other_values(space.rows(version)))
    except UnsupportedError:
        return []
    except DreamDBError as error:
        return [Finding(manifest_path(version), str(version), MANIFEST, str(error))]
    return [Finding(manifest_path(version), str(version), MANIFEST, wrong) for _, wrong in found]
