"""Jobs of index maintenance: which field of which version, and how far it has come. Specs 0004 and 0021.

What a job has done lies in a work folder of the local cache, one value a stage: `measure`, `plan`, `filed`, `published`.
A stage that is run again returns what is there. New buckets lie in the store; no version names them before the last stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, address_of, as_address
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.projection import bucket_origin, dim_of, hot_shard_address, row_entry
from dreamdb_arrow.columnar.vendor import read_track, track_path
from dreamdb_arrow.columnar.work_folder import WorkFolder
from dreamdb_arrow.dataset.spatial import DIRECTORY, load_spatial_index
from dreamdb_arrow.dataset.writable import check_cells, check_unbound
from dreamdb_arrow.errors import ConflictError, InvalidInputError, NotFoundError, UnsupportedError
from dreamdb_arrow.history.commit import Clock, check_movable
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.refs import read_tip
from dreamdb_arrow.objects.index_entries import IndexEntries
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, decode_schema
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.cells import check_keys
from dreamdb_arrow.tracks.pages import read_index
from dreamdb_arrow.tracks.refiling import Form
from dreamdb_arrow.tracks.vectors import load_compressor

FOLDER: Final = "reindex"  # of the local cache
JOB: Final = "job"
MEASURE: Final = "measure"
PLAN: Final = "plan"
FILED: Final = "filed"
PUBLISHED: Final = "published"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A field of a version whose cells can be made anew."""

    field: Field
    entry: TrackEntry
    track: Track
    spatial: Mapping[str, Any]
    index: SpatialIndex
    form: Form

    def entries(self, store: Store) -> IndexEntries:
        """Return the index of its Track."""
        return check_keys(read_index(store, self.track))


@dataclass(frozen=True, slots=True)
class Job:
    """What a job began with: the version, the Track and the SpatialIndex of the field, and what was asked for."""

    version: Address
    track: Address
    index: Address
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """All that the stages of a job work with."""

    store: Store
    cache: LocalCache
    ref: str
    field: str
    verb: str
    algorithms: tuple[str, ...]
    folder: WorkFolder
    clock: Clock
    progress: Progress | None = None

    def tip(self) -> Manifest:
        """Return the version that the Ref is at."""
        return load_manifest(self.store, read_tip(self.store, self.ref).address)

    def target(self, manifest: Manifest) -> Target:
        """Return the field of a version, as find_target does."""
        return find_target(self.store, manifest, self.field, self.algorithms, self.verb)


def open_desk(
    store: Store,
    cache: LocalCache,
    ref: str,
    field: str,
    verb: str,
    algorithms: tuple[str, ...],
    clock: Clock,
    progress: Progress | None,
) -> Desk:
    """Return the desk of a verb for one field of a Ref. Raises as find_target does, and for a snapshot."""
    manifest = load_manifest(store, read_tip(store, check_movable(ref)).address)
    find_target(store, manifest, field, algorithms, verb)
    name = address_of("\0".join((verb, str(manifest.timeline), ref, field)).encode())
    return Desk(
        store,
        cache,
        ref,
        field,
        verb,
        algorithms,
        WorkFolder(cache.root / FOLDER / str(name)),
        clock,
        progress,
    )


def find_target(
    store: Store, manifest: Manifest, name: str, algorithms: tuple[str, ...], verb: str
) -> Target:
    """Return an embedding field of a version.

    Raises:
        InvalidInputError: no such field, or its cells follow another algorithm.
        UnsupportedError: rows in a hot buffer, several hash tables, or an index bound to an embedding spec.
    """
    f = next((f for f in decode_schema(manifest.registry) if f.name == name), None)
    entry = None if f is None else row_entry(manifest, name)
    if f is None or entry is None or f.kind != "embedding":
        known = ", ".join(f.name for f in decode_schema(manifest.registry) if f.kind == "embedding")
        raise InvalidInputError(f"no embedding field {name!r:.200}; embedding fields: {known or 'none'}")
    spatial = manifest.registry.get(entry.modality, {})
    check_cells(f, entry.modality, spatial)
    origin = bucket_origin(manifest, entry.modality)
    index = load_spatial_index(store, origin.index)
    if index.algorithm not in algorithms:
        raise InvalidInputError(
            f"field {name!r} has cells of {index.algorithm}; {verb} is for {' and '.join(algorithms)}"
        )
    check_unbound(f, index)
    if hot_shard_address(manifest, entry) is not None:
        raise UnsupportedError(
            f"field {name!r} has rows in a hot buffer; call flush_hot() with the SDK that wrote them, then {verb}"
        )
    if len(spatial["spatial_index"]) > 1:
        raise UnsupportedError(f"field {name!r} has several hash tables, which {verb} cannot make anew")
    compressor = None if origin.compressor is None else load_compressor(store, origin.compressor)
    return Target(f, entry, read_track(store, entry), spatial, index, Form(dim_of(f), origin, compressor))


# --- how far it has come ------------------------------------------------------------------------------------


def begin(desk: Desk, options: Mapping[str, Any]) -> Job:
    """Begin a job at the tip, in place of one that may be there."""
    version = read_tip(desk.store, desk.ref).address
    target = desk.target(load_manifest(desk.store, version))
    desk.folder.clear()
    job = Job(version, target.entry.address, target.form.origin.index, options)
    desk.folder.write(JOB, asdict(job))
    return job


def resume(desk: Desk, options: Mapping[str, Any]) -> Job | None:
    """Return the job that was interrupted, if it was asked for the same and can still be finished."""
    job = read_job(desk)
    if job is None or desk.folder.read(PUBLISHED) is not None or job.options != options:
        return None
    try:
        check_current(desk, job)
    except ConflictError:
        return None
    return job


def read_job(desk: Desk) -> Job | None:
    """Return the job of a folder, or None."""
    held = desk.folder.read(JOB)
    if held is None:
        return None
    version, track, index = (as_address(held[key]) for key in ("version", "track", "index"))
    return Job(version, track, index, held["options"])


def check_current(desk: Desk, job: Job) -> None:
    """Give a job up when somebody has made the field's cells anew meanwhile, or has removed what it needs: ConflictError."""
    plan = desk.folder.read(PLAN) or {}
    planned = plan.get("index")
    there = desk.target(desk.tip()).form.origin.index
    if there not in (job.index, planned):
        raise give_up(desk, "its cells were made anew by somebody else")
    try:
        base = base_of(desk, job)
    except NotFoundError:
        raise give_up(desk, "the version that it began with is gone") from None
    if not desk.store.exists(track_path(base.entry)) or not _has_index(desk, planned):
        raise give_up(desk, "objects of it were removed")


def _has_index(desk: Desk, planned: bytes | None) -> bool:
    return planned is None or desk.store.exists(f"{DIRECTORY}/{as_address(planned)}")


def base_of(desk: Desk, job: Job) -> Target:
    """Return the field as the job found it. Raises NotFoundError when that version has been collected."""
    return desk.target(load_manifest(desk.store, job.version))


def give_up(desk: Desk, why: str) -> ConflictError:
    """Forget a job that cannot be finished, and return the error that says so."""
    desk.folder.clear()
    return ConflictError(f"{desk.verb} of field {desk.field!r} cannot go on: {why}; begin it again")
