"""Descent: which superseded Tracks a commit keeps in its lineage, and which edges. Spec 0008.

Two rules, both found by what the reference refuses (ADR 0009):

* a field that a commit leaves alone keeps its lineage as it is;
* a layer descends from the Track that its role names, and the edges say so, also when that field has moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.objects.lineage import LAYER_PREFIX, Edge, EdgeEnd, TrackEntry, Tracks, end_of


def lineage_after(tracks: Tracks, active: Sequence[TrackEntry]) -> tuple[list[TrackEntry], list[Edge]]:
    """Return lineage and edges of a version whose active entries are these, over one with those Tracks.

    What changes gets no lineage of its own: one that grows with each commit would some day pass the limit of its
    container.
    """
    same = set(active) & set(tracks.active)
    alone = {entry.field for entry in same}
    lineage = [entry for entry in tracks.lineage if entry.field in alone]
    held = {end_of(entry) for entry in (*lineage, *same)}
    edges = [edge for edge in tracks.edges if {edge.child, edge.exact_parent} <= held]
    _add_origins(tracks, active, lineage, edges)
    return lineage, edges


def _add_origins(
    tracks: Tracks, active: Sequence[TrackEntry], lineage: list[TrackEntry], edges: list[Edge]
) -> None:
    """Bring the Track that each layer's role names into the lineage, with an edge, where the layer has no way to it."""
    known = {entry.address: entry for entry in (*tracks.active, *tracks.lineage, *active)}
    present = {end_of(entry) for entry in (*active, *lineage)}
    pending = [*active, *lineage]
    while pending:
        layer = pending.pop()
        origin = known.get(origin_of(layer)) if layer.role.startswith(LAYER_PREFIX) else None
        if origin is None or _descends(end_of(layer), end_of(origin), edges):
            continue
        edges.append(Edge(end_of(layer), end_of(origin)))
        if end_of(origin) not in present:
            present.add(end_of(origin))
            lineage.append(origin)
            pending.append(origin)


def origin_of(layer: TrackEntry) -> Address:
    """Return the address of the Track that a layer's role names."""
    return parse_address(layer.role.removeprefix(LAYER_PREFIX))


def _descends(child: EdgeEnd, ancestor: EdgeEnd, edges: Iterable[Edge]) -> bool:
    """Whether edges lead from one to the other."""
    reached, frontier = {child}, {child}
    while frontier:
        frontier = {e.exact_parent for e in edges if e.child in frontier} - reached
        reached |= frontier
    return ancestor in reached
