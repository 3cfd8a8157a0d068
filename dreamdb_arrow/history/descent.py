"""Descent: which superseded Tracks a commit keeps in its lineage, and which edges. Spec 0008.

Two rules, both found by what the reference refuses (ADR 0009):

* a field that a commit leaves alone keeps its lineage as it is;
* a layer descends from the Track that its role names, and the edges say so, also when that field has moved on. A layer
  that changes keeps its lineage, and gets an edge to the Track before: two branches of a layer have a union only when
  they name the same one.

All else that changes leaves its lineage behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.objects.lineage import LAYER_PREFIX, Edge, EdgeEnd, TrackEntry, Tracks, end_of

LAYER_LINEAGE_MAX: Final = 64  # entries; then a layer begins anew, lest the container pass its limit


def lineage_after(tracks: Tracks, active: Sequence[TrackEntry]) -> tuple[list[TrackEntry], list[Edge]]:
    """Return lineage and edges of a version whose active entries are these, over one with those Tracks."""
    same = set(active) & set(tracks.active)
    grown = _grown_layers(tracks, active)
    kept = {entry.field for entry in same} | {new.field for new in grown}
    lineage = [entry for entry in tracks.lineage if entry.field in kept]
    lineage += [before for before in dict.fromkeys(grown.values()) if before not in lineage]
    held = {end_of(entry) for entry in (*lineage, *same)}
    edges = [edge for edge in tracks.edges if {edge.child, edge.exact_parent} <= held]
    edges += [Edge(end_of(new), end_of(before)) for new, before in grown.items()]
    _add_origins(tracks, active, lineage, edges)
    return _reachable(active, lineage, edges)


def _reachable(
    active: Sequence[TrackEntry], lineage: Sequence[TrackEntry], edges: Sequence[Edge]
) -> tuple[list[TrackEntry], list[Edge]]:
    """Return what an active Track descends from: a layer that goes takes its origin along."""
    above = {edge.child: edge.exact_parent for edge in edges}
    reached: set[EdgeEnd] = set()
    pending = [end_of(entry) for entry in active]
    while pending:
        if (end := pending.pop()) not in reached:
            reached.add(end)
            pending += [above[end]] if end in above else []
    return (
        [entry for entry in lineage if end_of(entry) in reached],
        [edge for edge in edges if edge.child in reached],
    )


def _grown_layers(tracks: Tracks, active: Sequence[TrackEntry]) -> dict[TrackEntry, TrackEntry]:
    """Return the layers that change and go on with their lineage, each with the Track that it has as its parent."""
    lengths = Counter(entry.field for entry in tracks.lineage)
    found = {}
    for new in active:
        if not new.role.startswith(LAYER_PREFIX) or lengths[new.field] >= LAYER_LINEAGE_MAX:
            continue
        before = [old for old in tracks.active if (old.field, old.role) == (new.field, new.role)]
        if before and new not in before and (parent := _parent_of(tracks, before)) is not None:
            found[new] = parent
    return found


def _parent_of(tracks: Tracks, before: Sequence[TrackEntry]) -> TrackEntry | None:
    """Return the Track that was changed; of two that a merge unites, the one that both have as their parent."""
    if len(before) == 1:
        return before[0]
    above = {edge.child: edge.exact_parent for edge in tracks.edges}
    parents = {above.get(end_of(old)) for old in before}
    return next((e for e in tracks.lineage if parents == {end_of(e)}), None)


def _add_origins(
    tracks: Tracks, active: Sequence[TrackEntry], lineage: list[TrackEntry], edges: list[Edge]
) -> None:
    """Bring the Track that each layer's role names into the lineage, with an edge, where the layer has no way to it."""
    known = {entry.address: entry for entry in (*tracks.active, *tracks.lineage, *active)}
    present = {end_of(entry) for entry in (*active, *lineage)}
    above = {edge.child: edge.exact_parent for edge in edges}
    pending = [*active, *lineage]
    while pending:
        layer = pending.pop()
        origin = known.get(origin_of(layer)) if layer.role.startswith(LAYER_PREFIX) else None
        if origin is None or (last := _last_above(end_of(layer), end_of(origin), above)) is None:
            continue
        above[last] = end_of(origin)
        edges.append(Edge(last, end_of(origin)))
        if end_of(origin) not in present:
            present.add(end_of(origin))
            lineage.append(origin)
            pending.append(origin)


def origin_of(layer: TrackEntry) -> Address:
    """Return the address of the Track that a layer's role names."""
    return parse_address(layer.role.removeprefix(LAYER_PREFIX))


def _last_above(child: EdgeEnd, origin: EdgeEnd, above: Mapping[EdgeEnd, EdgeEnd]) -> EdgeEnd | None:
    """Return where the way up from a Track ends; None when it leads to the origin. A Track has one parent at most."""
    seen = {child}
    while child != origin:
        if (parent := above.get(child)) is None:
            return child
        if parent in seen:
            return None
        seen.add(child := parent)
    return None
