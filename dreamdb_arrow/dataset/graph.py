"""Graph fields: building a graph over vectors as a layer of another field, and adding nodes to it. Spec 0013."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import GRAPH, dim_of, row_entry
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import VECTORS, add_track, has_columnar_layer, read_track, write_fragments
from dreamdb_arrow.dataset.evolve import check_beside, drop_column, schema_with
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.incoming import check_rows
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.dataset.tables import table_of_pairs
from dreamdb_arrow.errors import InvalidInputError, UnsupportedError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.graph_index import MAX_DEGREE, Fresh, GraphIndex, GraphLayout, GraphParams
from dreamdb_arrow.objects.lineage import LAYER_PREFIX
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import SCHEMA_KEY, Field, decode_schema
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.spatial.graph import build_edges, grow_edges, of_length_one
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.graph import (
    FRESH,
    Nodes,
    graph_modality,
    load_graph_index,
    page_addresses,
    publish_graph_index,
    read_nodes,
    write_nodes,
)

SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Appended:
    """What adding nodes did: how many there are now, and how many pages are new and as they were."""

    nodes: int
    pages_changed: int
    pages_reused: int


def build_graph_field(
    store: Store,
    name: str,
    new: Field,
    over: str,
    samples: Any,
    degree: int,
    params: GraphParams,
    clock: Clock,
) -> Address:
    """Add a field with a graph over vectors, as a layer over another field; return the new version.

    Args:
        store: where the Space lives.
        name: the Ref.
        new: the field: its name and dimension count.
        over: the field that the vectors were computed from.
        samples: pairs (anchor, vector), or anything tabular with `_anchor` and the field.
        degree: the largest number of neighbours.
        params: how the graph is built.
        clock: nanoseconds since 1970.

    Raises InvalidInputError when there is no such field below, the name is taken, or a sample does not fit.
    """
    anchors, vectors = _checked(samples, new)
    if not len(anchors):
        raise InvalidInputError(f"the graph of {new.name!r} needs at least one vector")
    nodes, index = _built(anchors.astype(np.uint64), vectors, degree, params)
    modality = graph_modality(dim_of(new), degree, new.name)

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        below = _entry_of(parent, over)
        check_beside(parent, new)
        address = publish_graph_index(batch, index)
        track = write_nodes(batch, parent.timeline, modality, nodes, index, address)
        role = f"{LAYER_PREFIX}{below.address}"
        at = add_track(batch, track)
        entry = TrackEntry("continuous", role, new.name, at, track.coverage, modality, parent.timeline)
        registry = {
            modality: _registered(index, address),
            SCHEMA_KEY: schema_with(parent, [_declared(new, index, address)]),
        }
        columnar = _columnar_entries(store, parent, batch, new.name) if has_columnar_layer(parent) else ()
        return Change("graph-index", (entry, *columnar), registry)

    return commit(store, name, build, clock=clock)[0]


def append_nodes(store: Store, name: str, field: str, samples: Any, clock: Clock) -> tuple[Address, Appended]:
    """Add nodes to the graph of a field; return the new version and what was done.

    The first call moves the field to the modality for graphs that grow, also without samples.

    Raises InvalidInputError when a sample does not fit or its anchor is a node's already; UnsupportedError for a graph
    whose nodes hold codes.
    """
    done: list[Appended] = []

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        held, entry = _graph_field(parent, field)
        anchors, vectors = _checked(samples, held)
        index = load_graph_index(store, _index_address(parent, entry))
        if index.compressor is not None:
            raise UnsupportedError(f"field {field!r} is a compressed graph: no nodes can be added to it")
        track = read_track(store, entry)
        nodes = read_nodes(store, track, index)
        _check_new(field, nodes, anchors)
        grown, changed = _grown(nodes, anchors.astype(np.uint64), vectors, index)
        return _regrown(parent, batch, held, entry, track, index, grown, changed, done)

    version, _ = commit(store, name, build, clock=clock)
    return version, done[-1]


def graph_without(
    store: Store, batch: Batch, version: Manifest, entry: TrackEntry, gone: Any
) -> tuple[TrackEntry, dict[str, Any]] | None:
    """Return a graph field's entry without the nodes at some anchors, and what the registry says then; None if it has none.

    The graph is built anew from the vectors that are left, as edges of others may lead to the nodes that go. Raises
    UnsupportedError for one that grew or is compressed, and for one of which nothing would be left.
    """
    index = load_graph_index(store, _index_address(version, entry))
    nodes = read_nodes(store, read_track(store, entry), index)
    alive = ~np.isin(nodes.anchors, gone)
    if alive.all():
        return None
    if index.compressor is not None or index.fresh is not None or not alive.any():
        raise UnsupportedError(
            f"rows cannot be taken out of the graph of {entry.field!r}: decommission the field, or build it anew, then purge"
        )
    held, at = _graph_field(version, entry.field)[0], index.layout
    left, built = _built(nodes.anchors[alive], nodes.vectors[alive], at.max_degree, index.params)
    address = publish_graph_index(batch, built)
    track = write_nodes(batch, version.timeline, entry.modality, left, built, address)
    registry = {
        entry.modality: {**version.registry[entry.modality], **_registered(built, address)},
        SCHEMA_KEY: schema_with(version, [_declared(held, built, address)], without=entry.field),
    }
    return replace(entry, address=add_track(batch, track), coverage=track.coverage), registry


def _regrown(
    parent: Manifest,
    batch: Batch,
    held: Field,
    entry: TrackEntry,
    track: Track,
    index: GraphIndex,
    nodes: Nodes,
    changed: I64,
    done: list[Appended],
) -> Change:
    """Return the change that puts a grown graph in the place of a Track; `changed` are nodes with other neighbours."""
    before, layout = index.layout.node_count, replace(index.layout, node_count=len(nodes))
    root = _index_address(parent, entry) if index.fresh is None else index.fresh.root
    grown = replace(index, layout=layout, fresh=index.fresh or Fresh(root))
    if grown == index and entry.modality.endswith(FRESH):
        done.append(Appended(before, 0, index.layout.page_count))
        return Change("fresh-graph")
    rewritten = set((changed // layout.page_node_count).tolist())
    rewritten |= set(
        range(before // layout.page_node_count, layout.page_count) if len(nodes) > before else ()
    )
    same = {n: page for n, page in enumerate(page_addresses(track)) if n not in rewritten}
    modality = entry.modality if index.fresh else entry.modality + FRESH
    # Pages lie below their modality: the first time, those that stay as they are, are put there too.
    kept = same if index.fresh else {}
    address = publish_graph_index(batch, grown)
    new = write_nodes(batch, entry.timeline, modality, nodes, grown, root, kept)
    done.append(Appended(len(nodes), layout.page_count - len(same), len(same)))
    at = add_track(batch, new)
    moved = replace(entry, address=at, coverage=new.coverage, modality=modality)
    field = _declared(held, grown, address)
    return Change(
        "fresh-graph",
        (moved,),
        {
            modality: _registered(grown, address),
            SCHEMA_KEY: schema_with(parent, [field], without=held.name),
        },
    )


# --- nodes --------------------------------------------------------------------------------------------------


def _built(
    anchors: Any, vectors: F32, degree: int, params: GraphParams, **layout: int
) -> tuple[Nodes, GraphIndex]:
    """Return the nodes of a new graph, which are the vectors in their order, and the index."""
    neighbours, entry = build_edges(vectors, degree, params)
    dim = vectors.shape[1]
    cut = GraphLayout(degree, len(vectors), entry, 4 * dim, **layout)
    return Nodes(anchors, vectors, neighbours), GraphIndex(dim, params, cut)


def _grown(nodes: Nodes, anchors: Any, vectors: F32, index: GraphIndex) -> tuple[Nodes, I64]:
    """Return all nodes, new ones behind those that are there, and which of the latter have other neighbours now."""
    if not len(anchors):
        return nodes, np.empty(0, np.int64)
    entry = index.layout.entry_point
    neighbours, changed = grow_edges(nodes.vectors, nodes.neighbours, entry, vectors, index.params)
    joined = np.concatenate([nodes.anchors, anchors]), np.concatenate([nodes.vectors, vectors])
    return Nodes(*joined, neighbours), changed


def _checked(samples: Any, f: Field) -> tuple[I64, F32]:
    """Return anchors int64 (n,) and vectors of length one, float32 (n, d), in the order of the samples."""
    table = table_of_pairs(samples, f, "vector")
    if not len(table):
        return np.empty(0, np.int64), np.empty((0, dim_of(f)), np.float32)
    rows = check_rows(table, (replace(f, required=True),))
    if rows.anchors is None:
        raise InvalidInputError(f"the vectors of {f.name!r} need the column {ANCHOR!r}")
    return rows.anchors, of_length_one(rows.vectors[f.name][1], f"field {f.name!r}")


def _check_new(field: str, nodes: Nodes, anchors: I64) -> None:
    taken = np.flatnonzero(np.isin(anchors.astype(np.uint64), nodes.anchors))
    if len(taken):
        raise InvalidInputError(
            f"anchor {anchors[taken[0]]} is a node of {field!r} already, and stays one when its row is deleted"
        )


# --- what a version says of a graph -------------------------------------------------------------------------


def _declared(f: Field, index: GraphIndex, address: Address) -> Field:
    options = {"dim": index.dim, "algorithm": index.algorithm, "spatial_index": bytes(address)}
    return Field("embedding", f.name, False, options)


def _registered(index: GraphIndex, address: Address) -> dict[str, Any]:
    return {
        "kind": "continuous",
        "algorithm": index.algorithm,
        "graph_index": bytes(address),
        "object_kind": "graph-page",
    }


def _index_address(parent: Manifest, entry: TrackEntry) -> Address:
    said = parent.registry.get(entry.modality) or {}
    return as_address(said.get("graph_index"))


def _graph_field(parent: Manifest, name: str) -> tuple[Field, TrackEntry]:
    entry = _entry_of(parent, name)
    if GRAPH not in entry.modality:
        raise InvalidInputError(f"field {name!r} is no graph; append rows instead")
    return next(f for f in decode_schema(parent.registry) if f.name == name), entry


def _entry_of(parent: Manifest, name: str) -> TrackEntry:
    names = [f.name for f in decode_schema(parent.registry)]
    entry = row_entry(parent, name) if name in names else None
    if entry is None:
        raise InvalidInputError(f"no field {name!r}; fields: {', '.join(names) or 'none'}")
    return entry


def _columnar_entries(store: Store, parent: Manifest, batch: Batch, name: str) -> list[TrackEntry]:
    """Return what the columnar layer needs: a Track of vectors, and a note that drops those of an earlier field."""
    entries = [write_fragments(batch, parent.timeline, VECTORS, [], name)]
    said = merge_notes(read_notes(store, parent))
    if name in said.tracks or name in said.payloads:
        entries.append(drop_column(store, parent, batch, name, said))
    return entries


# --- what users call ----------------------------------------------------------------------------------------


def train_and_publish_vamana_graph(
    backend: Backend,
    sample: Any,
    dim: int,
    modality: str,
    r: int = 32,
    alpha: float = 1.2,
    l_build: int = 100,
    l_search: int = 100,
    page_node_count: int = 256,
    page_bytes_target: int = 65_536,
    seed: bytes | None = None,
) -> bytes:
    """Build a graph over vectors (n, dim), store its GraphIndex and pages, and return the address of the index.

    It belongs to no Space's rows: all its anchors are 0. The arguments are those of `build_graph_index`.
    """
    vectors = np.asarray(sample, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim or not len(vectors) or not np.isfinite(vectors).all():
        raise InvalidInputError(
            f"the sample is finite vectors (n, {dim}), n >= 1; found shape {vectors.shape}"
        )
    params = _params(alpha, l_build, 2, seed, l_search)
    anchors = np.zeros(len(vectors), np.uint64)
    cut = {"page_node_count": check_count("page_node_count", page_node_count)}
    nodes, index = _built(
        anchors,
        of_length_one(vectors, "the sample"),
        _degree(r),
        params,
        page_bytes_target=page_bytes_target,
        **cut,
    )
    batch = Batch(Space(backend, create=True, cache_dir=None).store)
    address = publish_graph_index(batch, index)
    write_nodes(batch, address, modality, nodes, index, address)
    batch.flush()
    return bytes(address)


def _params(alpha: float, l_build: int, passes: int, seed: bytes | None, l_search: int = 100) -> GraphParams:
    given = bytes(SEED_BYTES) if seed is None else bytes(seed)
    if len(given) != SEED_BYTES:
        raise InvalidInputError(f"seed has {SEED_BYTES} bytes, not {len(given)}")
    if not 0 < alpha < np.inf:
        raise InvalidInputError(f"alpha must be a number above zero, not {alpha!r}")
    stored = float(np.float32(alpha))
    return GraphParams(
        stored, check_count("l_build", l_build), check_count("l_search", l_search), given, passes
    )


def _degree(r: int) -> int:
    if check_count("r", r) > MAX_DEGREE:
        raise InvalidInputError(f"r must be 1 to {MAX_DEGREE}, not {r}")
    return r


class Graphs(Handle):
    """The verbs of a Dataset for graphs over vectors. Each is one commit, and moves the handle on."""

    def build_graph_index(
        self,
        name: str,
        parent_field: str,
        dim: int,
        samples: Any,
        r: int = 64,
        alpha: float = 1.2,
        l_build: int = 100,
        passes: int = 2,
        seed: bytes | None = None,
        embed_spec: bytes | None = None,
    ) -> None:
        """Add a field with a graph (Vamana) over vectors that were computed from another field.

        A search walks the graph from one vector to nearer ones. The same samples and arguments give the same graph on
        one machine.

        Args:
            name: the new field.
            parent_field: the field the vectors were computed from.
            dim: how many numbers a vector has.
            samples: pairs (anchor, vector), or anything tabular with `_anchor` and a column of the field's name. Vectors
                are brought to length one: the reference ranks by plain products.
            r: the largest number of neighbours of a vector.
            alpha: how far edges reach; 1.2 is usual.
            l_build: a vector chooses its neighbours from half as many near ones.
            passes: kept with the graph; one is enough here.
            seed: 32 bytes, zeros unless given.
            embed_spec: not supported.

        Raises InvalidInputError when there is no such field below, the name is taken, or a sample does not fit.
        """
        if embed_spec is not None:
            raise UnsupportedError("a graph bound to an embedding spec: build it with the reference SDK")
        declared = Schema().add_embedding(name, dim, required=False).fields[0]
        params = _params(alpha, l_build, check_count("passes", passes), seed)
        self._version = build_graph_field(
            self.space.store, self._ref, declared, parent_field, samples, _degree(r), params, self._clock
        )

    def append_graph_nodes(self, field: str, samples: Any) -> dict[str, int]:
        """Add vectors to the graph of a field; return `nodes`, `pages_changed` and `pages_reused`.

        Samples are as for `build_graph_index`. The anchor of a node cannot be given again, also when its row is deleted.
        """
        self._version, done = append_nodes(self.space.store, self._ref, field, samples, self._clock)
        return {
            "nodes": done.nodes,
            "pages_changed": done.pages_changed,
            "pages_reused": done.pages_reused,
        }
