"""Inspect: the Space itself as lists of plain values, for tables and for people. Spec 0006."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.arrays import arrow_of_items
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vendor import read_track, track_path
from dreamdb_arrow.dataset.schema import public_type
from dreamdb_arrow.errors import CorruptDataError, UnsupportedError
from dreamdb_arrow.history.ancestry import first_parents
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import Field, is_constant, item_type_of
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Ref, Store
from dreamdb_arrow.tracks.constants import read_array_constant, read_constant


def history(store: Store, tip: Address, max_depth: int | None) -> list[dict[str, Any]]:
    """Return versions by first parents, newest first, in the reference's words."""
    return [describe_version(a, m) for a, m in islice(first_parents(store, tip), max_depth)]


def describe_version(address: Address, manifest: Manifest) -> dict[str, Any]:
    """Return one version as `history` lists it."""
    return {
        "manifest": str(address),
        "ts_ns": manifest.ts,
        "operation": operation_of(manifest.writer),
        "writer": manifest.writer,
        "parents": [str(p) for p in manifest.parents],
        "parents_count": len(manifest.parents),
        "tracks_count": len(manifest.tracks.active),
    }


def operation_of(writer: str) -> str:
    """Return what a writer's tag says was done, or nothing."""
    parts = dict(part.split("=", 1) for part in writer.split(";") if "=" in part)
    return parts.get("operation", "")


def refs(store: Store) -> list[dict[str, Any]]:
    """Return all Refs with what they name; one that is damaged names nothing, and says why."""
    return [{"ref": name, "is_snapshot": "@" in name, **_named_by(store, name)} for name in store.list_refs()]


def _named_by(store: Store, name: str) -> dict[str, Any]:
    try:
        found = store.read_ref(name)
    except CorruptDataError as error:
        return {"manifest": None, "error": str(error)}
    return {"manifest": str(found.address) if isinstance(found, Ref) else None, "error": None}


def schema_rows(rows: RowSet) -> list[dict[str, Any]]:
    """Return the fields of a version, and of those that cannot be read, why."""
    return [
        {
            "field": f.name,
            "kind": f.kind,
            "type": str(public_type(f) or f.kind),
            "required": f.required,
            "algorithm": f.options.get("algorithm"),
            "mime": f.options.get("mime"),
            "available": f.name not in rows.unavailable,
            "reason": rows.unavailable.get(f.name),
        }
        for f in rows.fields
    ]


def tracks(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the active Tracks of a version."""
    return [
        {
            "field": e.field,
            "modality": e.modality,
            "kind": e.kind,
            "role": e.role,
            "t0": e.coverage[0],
            "t1": e.coverage[1],
            "track": str(e.address),
            "path": track_path(e),
        }
        for e in manifest.tracks.active
    ]


def objects(rows: RowSet) -> list[dict[str, Any]]:
    """Return the objects that a scan reads: stripes, and vector stripes by field; local projections have no path."""
    listed = [("stripe", "", s) for s in rows.stripes]
    listed += [("vectors", name, s) for name, held in rows.vectors.items() for s in held]
    return [
        {"kind": kind, "field": name, "t0": s.t0, "t1": s.t1, "address": str(s.address), "path": s.path}
        for kind, name, s in listed
    ]


def constants(rows: RowSet) -> dict[str, Any]:
    """Return the constants of a version by field, decoded; one that cannot be decoded is left out."""
    found = {}
    for f, entry in _constant_entries(rows):
        try:
            value = _constant_value(rows.store, f, read_track(rows.store, entry))
            found[f.name] = {"modality": entry.modality, "value": value}
        except UnsupportedError:
            continue
    return found


def _constant_value(store: Store, f: Field, track: Track) -> Any:
    """Return a constant as plain values: text, what its JSON says, or the lists and maps of an array."""
    if f.kind != "array":
        return read_constant(store, track)
    of = item_type_of(f)
    return arrow_of_items(of, read_array_constant(store, track, of))[0].as_py()


def _constant_entries(rows: RowSet) -> Iterator[tuple[Field, TrackEntry]]:
    fields = {f.name: f for f in rows.fields if is_constant(f)}
    return ((fields[e.field], e) for e in rows.manifest.tracks.active if e.field in fields)


def metadata(manifest: Manifest) -> dict[str, str]:
    """Return the texts that `set_meta` and `set_description` left in the registry."""
    return {k: v for k, v in manifest.registry.items() if k.startswith("dreamdb.") and isinstance(v, str)}
