"""Registries: what two versions say of schema, metadata and indexes becomes one. Spec 0008.

Each key is decided against the merge base, and in the schema each field. What only one side changed is taken from it, unless the
other side's rows depend on what it was before. What both changed is a conflict, which a policy may decide where no row is read by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.errors import MergeError
from dreamdb_arrow.objects.manifest import Manifest, find_entry
from dreamdb_arrow.objects.schema import SCHEMA_KEY, decode_schema, encode_schema
from dreamdb_arrow.objects.tombstones import TOMBSTONES_KEY

ERROR, OURS, THEIRS = "error", "ours", "theirs"
POLICIES: Final = (ERROR, OURS, THEIRS)
TEXTS: Final = "dreamdb."  # begins the keys of metadata
KEYS_NAMED: Final = 5
BRIEF: Final = 40  # characters of a value that a message shows
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Parting:
    """Versions and where they parted: ours, into which theirs is merged, and the base if it is still known.

    `conflicts` says what happens where both changed one thing: `error`, or whose counts, `ours` or `theirs`. `more` are
    versions that are merged in the same go; they parted at the same base, and their registries are as ours.
    """

    ours: Manifest
    theirs: Manifest
    base: Manifest | None = None
    conflicts: str = ERROR
    more: tuple[Manifest, ...] = ()

    @property
    def others(self) -> tuple[Manifest, ...]:
        """All that is merged into ours."""
        return (self.theirs, *self.more)

    def sides(self, key: str) -> tuple[Any, Any, Any]:
        """Return what ours, theirs and the base say under a key of the registry."""
        held = (self.ours, self.theirs, self.base)
        return tuple(_ABSENT if m is None else m.registry.get(key, _ABSENT) for m in held)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Said:
    """What a merge changes in our registry: keys that are set, and keys that go."""

    entries: Mapping[str, Any]
    removed: frozenset[str] = frozenset()


def unite_registries(parting: Parting) -> Said:
    """Return what our registry is to say besides, but for tombstones.

    Raises MergeError, naming what differs and the way out, where no rule and no policy decides.
    """
    ours, theirs = parting.ours.registry, parting.theirs.registry
    differing = {
        k for k in (ours.keys() | theirs.keys()) - {TOMBSTONES_KEY} if _differ(parting, k)
    }  # 0008-R9
    modalities = {e.modality for m in (parting.ours, parting.theirs) for e in m.tracks.active}
    both = {k for k in differing if _both_changed(parting, k)} - {SCHEMA_KEY}
    _check_decidable(parting, both, modalities)
    chosen = {key: _choose(parting, key) for key in sorted(differing)}
    for key in sorted(differing & modalities):
        _check_readable(parting, key)
    entries = {k: v for k, v in chosen.items() if v is not _ABSENT and v != ours.get(k, _ABSENT)}
    return Said(entries, frozenset(k for k, v in chosen.items() if v is _ABSENT and k in ours))


def _differ(parting: Parting, key: str) -> bool:
    ours, theirs, _ = parting.sides(key)
    return bool(ours != theirs)


def _both_changed(parting: Parting, key: str) -> bool:
    ours, theirs, base = parting.sides(key)
    return parting.base is None or base not in (ours, theirs)


def _choose(parting: Parting, key: str) -> Any:
    ours, theirs, base = parting.sides(key)
    if key == SCHEMA_KEY:
        return _unite_schemas(parting)
    if _both_changed(parting, key):
        return theirs if parting.conflicts == THEIRS else ours
    return theirs if ours == base else ours


def _check_decidable(parting: Parting, both: Collection[str], modalities: Collection[str]) -> None:
    """Refuse keys that both sides changed: all of them without a policy, else those that rows are read by."""
    bound = {k for k in both if k in modalities or not k.startswith(TEXTS)}
    refused = bound if parting.conflicts != ERROR else both
    if not refused:
        return
    shown = "; ".join(_told(parting, key) for key in sorted(refused)[:KEYS_NAMED])
    more = "" if len(refused) <= KEYS_NAMED else f"; and {len(refused) - KEYS_NAMED} more"
    way = (
        "make them equal on both branches, then merge"
        if bound
        else "make them equal, or merge with conflicts='ours' or 'theirs'"
    )
    raise MergeError(f"both sides changed the registry, each in its own way: {shown}{more}; {way}")


def _told(parting: Parting, key: str) -> str:
    ours, theirs, _ = (brief(value) for value in parting.sides(key))
    return f"{key!r:.80} is {ours} here, {theirs} there"


def brief(value: Any) -> str:
    """Return a value as a message shows it."""
    if value is _ABSENT:
        return "absent"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = repr(value)
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}…"


def _check_readable(parting: Parting, modality: str) -> None:
    """Refuse an index that one side made anew where the other side's Track, which has grown, was written with the old one."""
    base = parting.base
    if base is None or modality not in base.registry:
        return
    for entry in base.tracks.active:
        sides = [find_entry(m.tracks, entry.field) for m in (parting.ours, parting.theirs)]
        grown = all(side is not None and side.address != entry.address for side in sides)
        if entry.modality == modality and grown:
            raise MergeError(
                f"the index of field {entry.field!r} was made anew on one side, and the other side has flushed rows into the "
                f"old one; make it anew on both with the same parameters, or merge before you rebuild"
            )


# --- schemas ------------------------------------------------------------------------------------------------


def _unite_schemas(parting: Parting) -> Any:
    """Return the schema with the fields of both: what one side added or changed counts."""
    ours, theirs, base = parting.sides(SCHEMA_KEY)
    before = None if base is _ABSENT else _fields(parting.base)
    if before is None:
        raise MergeError(
            f"both sides differ in {SCHEMA_KEY!r}, and where they parted is not known any more; make the schemas equal on both "
            "branches, then merge"
        )
    a, b = _fields(parting.ours), _fields(parting.theirs)
    united = [_unite_field(name, a, b, before) for name in sorted(a.keys() | b.keys() | before.keys())]
    specs = [said.get("embedding_specs") for said in (ours, theirs, base)]
    if specs[0] != specs[1] and specs[2] not in specs[:2]:
        raise MergeError("both sides changed the embedding specs of the schema; make them equal, then merge")
    return encode_schema([f for f in united if f is not None], specs[1] if specs[0] == specs[2] else specs[0])


def _fields(version: Manifest | None) -> dict[str, Any]:
    return {} if version is None else {f.name: f for f in decode_schema(version.registry)}


def _unite_field(name: str, ours: dict[str, Any], theirs: dict[str, Any], base: dict[str, Any]) -> Any:
    a, b, before = ours.get(name), theirs.get(name), base.get(name)
    if a == b:
        return a
    if before is not None and (a is None or b is None):
        raise MergeError(
            f"field {name!r} was dropped on one side since both parted; drop it on the other one too "
            f"(decommission_modality), then merge"
        )
    if before in (a, b):
        return b if a == before else a
    raise MergeError(
        f"field {name!r} is {_shape(a)} here, {_shape(b)} there; decommission it on one side, then merge"
    )


def _shape(f: Any) -> str:
    told = {**f.options, "required": f.required}
    return f"{f.kind} ({', '.join(f'{k}={brief(v)}' for k, v in sorted(told.items()))})"
