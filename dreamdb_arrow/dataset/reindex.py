"""Index maintenance: cells trained anew, or balanced, and every row filed again, as one commit. Specs 0004, 0007 and 0021.

Four stages: measure, plan, refile, publish. They may run as processes of their own, and each may be killed and run again;
until the last one no version knows of them. Readers of older versions keep the cells that these name. ADR 0022.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.dataset.compact import compact_change
from dreamdb_arrow.dataset.evolve import schema_with
from dreamdb_arrow.dataset.reindex_job import (
    FILED,
    JOB,
    MEASURE,
    PLAN,
    PUBLISHED,
    Desk,
    Job,
    Progress,
    Target,
    base_of,
    begin,
    check_current,
    give_up,
    open_desk,
    read_job,
    resume,
)
from dreamdb_arrow.dataset.reindex_plan import ADA, REBUILD, SIZES, measure, plan
from dreamdb_arrow.dataset.reindex_refile import KINDS, file_added, filing_of, read_groups, read_paths, refile
from dreamdb_arrow.dataset.spatial import DIRECTORY
from dreamdb_arrow.errors import InvalidInputError, ObjectNotFoundError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.index_entries import CELLS, IndexEntries, entries_of_lists
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import SCHEMA_KEY
from dreamdb_arrow.objects.spatial_index import IMI_COSINE, IVF_COSINE
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.compaction import Compacted
from dreamdb_arrow.tracks.placing import place_entries

TARGET: Final = 4.0


def rebuild_ivf(
    store: Store,
    cache: LocalCache,
    name: str,
    field: str,
    *,
    k: int | None = None,
    seed: int = 0,
    sample: int | None = None,
    progress: Progress | None = None,
    clock: Clock = time.time_ns,
) -> dict[str, Any]:
    """Train the cells of a field from its vectors, and file every row anew. See `Dataset.rebuild_ivf`."""
    options = {
        "k": None if k is None else check_count("k", k),
        "seed": _check_seed(seed),
        "sample": None if sample is None else check_count("sample", sample),
    }
    desk = open_desk(store, cache, name, field, REBUILD, (IVF_COSINE, IMI_COSINE), clock, progress)
    with desk.folder.held():
        return _run_all(desk, options)


def ada_ivf_step(
    store: Store,
    cache: LocalCache,
    name: str,
    field: str,
    *,
    stage: str | None = None,
    target: float = TARGET,
    seed: int = 0,
    progress: Progress | None = None,
    clock: Clock = time.time_ns,
) -> dict[str, Any]:
    """Cut the cells of a field that hold too much and give up small ones. See `Dataset.ada_ivf_step`."""
    if stage is not None and stage not in STAGES:
        raise InvalidInputError(f"no stage {stage!r:.80}; stages: {', '.join(STAGES)}")
    options = {"target": _check_target(target), "seed": _check_seed(seed)}
    desk = open_desk(store, cache, name, field, ADA, (IVF_COSINE,), clock, progress)
    with desk.folder.held():
        return _run_all(desk, options) if stage is None else _run_stage(desk, options, stage)


def _check_target(target: Any) -> float:
    if isinstance(target, bool) or not isinstance(target, (int, float)) or not 1 < target < math.inf:
        raise InvalidInputError(f"target must be a number above 1, not {target!r:.80}")
    return float(target)


def _check_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise InvalidInputError(f"seed must be a whole number of 0 to {2**32 - 1}, not {seed!r:.80}")
    return int(seed)


# --- stages -------------------------------------------------------------------------------------------------


def _run_all(desk: Desk, options: Mapping[str, Any]) -> dict[str, Any]:
    """Run the stages that are left of a job that was interrupted, or all of a new one."""
    job = resume(desk, options) or begin(desk, options)
    for run in STAGES.values():
        run(desk, job)
    return _report(desk, "publish")


def _run_stage(desk: Desk, options: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Run one stage. Raises InvalidInputError when the one before has not been run, ConflictError when the job is stale."""
    names = list(STAGES)
    if stage == names[0]:
        job: Job | None = begin(desk, options)
    else:
        job = read_job(desk)
        before = names[names.index(stage) - 1]
        if job is None or desk.folder.read(_RESULTS[before]) is None:
            raise InvalidInputError(f"field {desk.field!r}: run the stage {before} before {stage}")
        if desk.folder.read(PUBLISHED) is None:
            check_current(desk, job)
    assert job is not None
    STAGES[stage](desk, job)
    return _report(desk, stage)


def _report(desk: Desk, stage: str) -> dict[str, Any]:
    """Return what is known after a stage, for people and for `--json`."""
    before, planned, filed, published = (desk.folder.read(_RESULTS[name]) or {} for name in STAGES)
    report = {"ref": desk.ref, "field": desk.field, "stage": stage, **{key: before[key] for key in SIZES}}
    index = planned.get("index")
    report["index"] = None if index is None else str(as_address(index))
    if index is not None:
        report["cells_after"] = planned["cells"]
    if index is not None and filed:
        report |= {f"{key}_after": filed[key] for key in SIZES if key != "rows"}
        report["rows_compared"] = filed["compared"]
    return {**report, "manifest": published.get("manifest")}


def publish(desk: Desk, job: Job) -> dict[str, Any]:
    """Make one commit of what was filed; the last stage. Rows that came meanwhile are filed with it.

    Raises ConflictError when buckets that the job has read were replaced meanwhile, as by a compaction.
    """
    found: dict[str, Any] | None = desk.folder.read(PUBLISHED)
    if found is None:
        planned, filed = plan(desk, job), refile(desk, job)
        found = {"manifest": None}
        if planned["index"] is not None:
            address, _ = commit(desk.store, desk.ref, _building(desk, job, planned, filed), clock=desk.clock)
            found = {"manifest": str(address)}
        desk.folder.write(PUBLISHED, found)
        desk.folder.clear(JOB, MEASURE, PLAN, FILED, PUBLISHED)
    return found


STAGES: Final[Mapping[str, Callable[[Desk, Job], dict[str, Any]]]] = MappingProxyType(
    {"measure": measure, "plan": plan, "refile": refile, "publish": publish}
)
_RESULTS: Final = MappingProxyType({"measure": MEASURE, "plan": PLAN, "refile": FILED, "publish": PUBLISHED})


# --- the commit ---------------------------------------------------------------------------------------------


def _building(
    desk: Desk, job: Job, planned: Mapping[str, Any], filed: Mapping[str, Any]
) -> Callable[[Manifest, Address, Batch], Change]:
    """Return what a commit asks for the change."""
    address = as_address(planned["index"])

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        target = desk.target(parent)
        if target.form.origin.index == address:  # published, and killed before that was noted
            return Change(desk.verb)
        if target.form.origin.index != job.index:
            raise give_up(desk, "its cells were made anew by somebody else")
        entries, sources = target.entries(desk.store), filed["sources"]
        added = _added(desk, entries, frozenset(name for listed in sources for name in listed))
        filing = filing_of(desk, base_of(desk, job), planned)
        late = file_added(desk, batch, target, filing, added) if len(added) else []
        made = read_groups(desk, filed)
        _hold(desk, batch, [*read_paths(desk, filed), f"{DIRECTORY}/{address}"])
        names = [*sources, [row.tobytes() for row in added.addresses]]
        done = _refiled(batch, target, [*made, *([KINDS, *entry] for entry in late)], names)
        change = compact_change(desk.store, batch, parent, {desk.field: done})
        return replace(change, operation=desk.verb, registry=_registry(parent, target, address))

    return build


def _added(desk: Desk, entries: IndexEntries, known: frozenset[bytes]) -> IndexEntries:
    """Return the entries of a Track that came after a job began. Raises ConflictError when some have gone."""
    names = [row.tobytes() for row in entries.addresses]
    if not known <= set(names):
        raise give_up(desk, "its cells were compacted meanwhile")
    return entries.take(np.array([at for at, name in enumerate(names) if name not in known], np.int64))


def _hold(desk: Desk, batch: Batch, paths: list[str]) -> None:
    """Keep what was written in earlier stages. Raises ConflictError when some was collected: nothing names it yet."""
    try:
        batch.hold(paths)
    except ObjectNotFoundError:
        raise give_up(desk, "buckets that it wrote were collected") from None


def _refiled(batch: Batch, target: Target, made: list[list[Any]], sources: list[list[bytes]]) -> Compacted:
    """Return the Track of the new buckets, of which each stands for the old ones of its kind."""
    entries = entries_of_lists(CELLS, [row[1:] for row in made])
    track = replace(target.track, object_index=place_entries(batch, target.track, entries))
    before = [frozenset(map(as_address, listed)) for listed in sources]
    replaced = tuple((as_address(row[5]), before[row[0]]) for row in made)
    return Compacted(track, len(made), len(made), sum(map(len, before)), replaced)


def _registry(parent: Manifest, target: Target, address: Address) -> dict[str, Any]:
    """Return the registry keys that name the new index."""
    name = bytes(address)
    registry: dict[str, Any] = {target.entry.modality: {**target.spatial, "spatial_index": [name]}}  # 0004-R4
    if target.field.options.get("spatial_index") is not None:
        f = replace(target.field, options={**target.field.options, "spatial_index": name})
        registry[SCHEMA_KEY] = schema_with(parent, [f], without=f.name)
    return registry
