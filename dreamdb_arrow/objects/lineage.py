"""Lineage: the Tracks of one Manifest, current and superseded, which came from which. Specs 0001 and 0008."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from dreamdb_arrow.codec.address import Address, is_address_text
from dreamdb_arrow.codec.modality import check_modality
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import (
    expect_address,
    expect_closed_map,
    expect_list,
    expect_map,
    expect_range,
    expect_text,
)

LINEAGE_FORM: Final = "lineage-v1"
ENTITY_FORM: Final = "lineage-v4"
# The forms there are, and the key that each adds.
CLAIM_KEYS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        LINEAGE_FORM: None,
        "lineage-v2": "backfill_claims",
        ENTITY_FORM: "backfill_claims",
        "lineage-v5": "origins",
    }
)
LIST_FORM: Final = "list"  # our name for the older plain array of active entries, which has no name
TRACK_KINDS: Final = ("event", "continuous", "constant")
BASE_ROLE: Final = "base"
LAYER_PREFIX: Final = "layer-of:"

_TRACKS_KEYS: Final = frozenset({"form", "edges", "active", "lineage"})
_END_KEYS: Final = frozenset({"field", "address", "modality", "timeline"})
_EDGE_KEYS: Final = frozenset({"child", "exact_parent"})
_ENTRY_KEYS: Final = _END_KEYS | {"kind", "role", "coverage"}


@dataclass(frozen=True, slots=True)
class TrackEntry:
    """A Track within a Manifest. `role` is "base", or "layer-of:" and the parent Track's address as text."""

    kind: str
    role: str
    field: str
    address: Address
    coverage: tuple[int, int]
    modality: str
    timeline: Address


@dataclass(frozen=True, slots=True)
class EdgeEnd:
    """A Track as an edge names it."""

    field: str
    address: Address
    modality: str
    timeline: Address


@dataclass(frozen=True, slots=True)
class Edge:
    """That one Track was made from another."""

    child: EdgeEnd
    exact_parent: EdgeEnd


@dataclass(frozen=True, slots=True)
class Tracks:
    """The current Tracks, one entry a field, and those superseded ones they descend from.

    `form` is "lineage-v1"; another of CLAIM_KEYS, which add claims about the Tracks, kept as they were decoded; or
    "list": the older form. All but the first may be read but not written on.
    """

    active: tuple[TrackEntry, ...]
    lineage: tuple[TrackEntry, ...] = ()
    edges: tuple[Edge, ...] = ()
    form: str = LINEAGE_FORM
    claims: tuple[Any, ...] = ()

    @property
    def read_only(self) -> bool:
        """Whether a commit on top of these must be refused."""
        return self.form != LINEAGE_FORM  # 0001-R8

    @property
    def refusal(self) -> str:
        """Why a commit on top of these is refused, and what to do instead; empty when it is not."""
        return _REFUSALS.get(self.form, _REFUSED) if self.read_only else ""


_REFUSED: Final = (
    "its Manifest makes claims about its Tracks that our commits would break; write it with the reference SDK"
)
_REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ENTITY_FORM: "its rows have entity keys; write them with the entity operations of the reference SDK",
        LIST_FORM: "its Manifest is of an older form; it must be migrated first",
    }
)


def find_entry(tracks: Tracks, field_name: str) -> TrackEntry | None:
    """Return the active entry of a field, or None."""
    return next((entry for entry in tracks.active if entry.field == field_name), None)


def order_tracks(
    active: Iterable[TrackEntry], lineage: Iterable[TrackEntry] = (), edges: Iterable[Edge] = ()
) -> Tracks:
    """Return these in the order that Manifests keep them in."""
    return Tracks(
        active=tuple(sorted(active, key=_rank)),
        lineage=tuple(sorted(lineage, key=_rank)),
        edges=tuple(sorted(edges, key=_edge_rank)),
    )


def decode_tracks(value: Any) -> Tracks:
    """Return the Tracks of a decoded value, form and entries checked, but not yet their order.

    Raises LayoutError; UnsupportedError for a form that is not known.
    """
    if isinstance(value, list):
        return Tracks(active=_decode_entries(value), form=LIST_FORM)
    form = expect_text(expect_map(value, "tracks").get("form"), "form of tracks")
    if form not in CLAIM_KEYS:  # 0001-R8
        raise UnsupportedError(f"tracks of form {form!r:.80} are not supported, only {', '.join(CLAIM_KEYS)}")
    key = CLAIM_KEYS[form]
    fields = expect_closed_map(value, "tracks", _TRACKS_KEYS if key is None else _TRACKS_KEYS | {key})
    return Tracks(
        active=_decode_entries(fields["active"]),
        lineage=_decode_entries(fields["lineage"]),
        edges=tuple(map(_decode_edge, expect_list(fields["edges"], "edges of tracks"))),
        form=form,
        claims=() if key is None else tuple(expect_list(fields[key], f"{key} of tracks")),
    )


def _decode_entries(value: Any) -> tuple[TrackEntry, ...]:
    return tuple(map(_decode_entry, expect_list(value, "entries of tracks")))


def _decode_entry(value: Any) -> TrackEntry:
    fields = expect_closed_map(value, "track entry", _ENTRY_KEYS)
    kind = expect_text(fields["kind"], "kind of a track entry")
    if kind not in TRACK_KINDS:
        raise LayoutError(f"kind of a track entry is {kind!r:.80}, not one of {', '.join(TRACK_KINDS)}")
    return TrackEntry(
        kind=kind,
        role=_decode_role(fields["role"]),
        coverage=expect_range(fields["coverage"], "coverage of a track entry"),
        **_decode_end_fields(fields, "track entry"),
    )


def _decode_role(value: Any) -> str:
    role = expect_text(value, "role of a track entry")
    parent = role.removeprefix(LAYER_PREFIX)
    if role != BASE_ROLE and (parent == role or not is_address_text(parent)):
        raise LayoutError(f"not a role of a track entry: {role!r:.80}")
    return role


def _decode_edge(value: Any) -> Edge:
    fields = expect_closed_map(value, "edge", _EDGE_KEYS)
    child, parent = (
        expect_closed_map(fields[end], f"{end} of an edge", _END_KEYS) for end in ("child", "exact_parent")
    )
    return Edge(
        EdgeEnd(**_decode_end_fields(child, "child of an edge")),
        EdgeEnd(**_decode_end_fields(parent, "exact_parent of an edge")),
    )


def _decode_end_fields(fields: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {
        "field": expect_text(fields["field"], f"field of a {what}"),
        "address": expect_address(fields["address"], f"address of a {what}"),
        "modality": check_modality(expect_text(fields["modality"], f"modality of a {what}")),  # 0001-R10
        "timeline": expect_address(fields["timeline"], f"timeline of a {what}"),
    }


def tracks_value(tracks: Tracks) -> Any:
    """Return the value that stands for these Tracks in a Manifest."""
    active = [_entry_value(entry) for entry in tracks.active]
    if tracks.form == LIST_FORM:
        return active
    key = CLAIM_KEYS[tracks.form]
    return {
        **({} if key is None else {key: list(tracks.claims)}),
        "form": tracks.form,
        "edges": [
            {"child": _end_value(e.child), "exact_parent": _end_value(e.exact_parent)} for e in tracks.edges
        ],
        "active": active,
        "lineage": [_entry_value(entry) for entry in tracks.lineage],
    }


def _entry_value(entry: TrackEntry) -> dict[str, Any]:
    return {"kind": entry.kind, "role": entry.role, "coverage": entry.coverage, **_end_value(entry)}


def _end_value(end: EdgeEnd | TrackEntry) -> dict[str, Any]:
    return {"field": end.field, "address": end.address, "modality": end.modality, "timeline": end.timeline}


# --- order and closure --------------------------------------------------------------------------------------


def check_tracks(tracks: Tracks) -> None:  # 0001-R4
    """Raise LayoutError unless entries and edges are in order, unique, and closed.

    Order is by timeline, field name, modality and address.
    """
    if tracks.form == LIST_FORM and (tracks.lineage or tracks.edges):
        raise LayoutError("tracks of the list form have neither lineage nor edges")
    if tracks.form not in (*CLAIM_KEYS, LIST_FORM):
        raise LayoutError(f"tracks of form {tracks.form!r:.80} cannot be written")
    if tracks.claims and CLAIM_KEYS.get(tracks.form) is None:
        raise LayoutError(f"tracks of form {tracks.form!r:.80} make no claims")
    _check_order(list(map(_rank, tracks.active)), "active tracks")
    _check_order(list(map(_rank, tracks.lineage)), "lineage")
    _check_order(list(map(_edge_rank, tracks.edges)), "edges")
    _check_closure(tracks)  # 0001-R5


_Rank = tuple[bytes, str, str, bytes]


def _rank(end: TrackEntry | EdgeEnd) -> _Rank:
    # Code points compare as their UTF-8 bytes do.
    return bytes(end.timeline), end.field, end.modality, bytes(end.address)  # 0001-R4


def _edge_rank(edge: Edge) -> tuple[_Rank, _Rank]:
    return _rank(edge.child), _rank(edge.exact_parent)


def _check_order(ranks: Sequence[Any], what: str) -> None:
    if len(set(ranks)) != len(ranks):
        raise LayoutError(f"{what} name something twice")
    if any(left >= right for left, right in pairwise(ranks)):
        raise LayoutError(f"{what} are not in order")


def _check_closure(tracks: Tracks) -> None:
    """Each end of an edge is an entry; each superseded entry is reached from an active one by edges."""
    active, lineage = set(map(end_of, tracks.active)), set(map(end_of, tracks.lineage))
    entries = active | lineage
    parents: dict[EdgeEnd, EdgeEnd] = {}
    for edge in tracks.edges:
        if edge.child not in entries or edge.exact_parent not in entries:
            raise LayoutError(f"an edge of field {edge.child.field!r:.80} ends at no entry")
        if edge.child in parents or edge.child == edge.exact_parent:  # as the reference has it
            raise LayoutError(
                f"a Track of field {edge.child.field!r:.80} has two exact parents, or is its own"
            )
        parents[edge.child] = edge.exact_parent
    reached = set(active)
    for start in active:
        end = parents.get(start)
        while end is not None and end not in reached:
            reached.add(end)
            end = parents.get(end)
    if lost := lineage - reached:
        raise LayoutError(
            f"no active track descends from an entry of field {min(lost, key=_rank).field!r:.80}"
        )


def end_of(entry: TrackEntry) -> EdgeEnd:
    """Return an entry as edges name it."""
    return EdgeEnd(entry.field, entry.address, entry.modality, entry.timeline)
