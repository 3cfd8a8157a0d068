"""Multi-vector fields: adding one with its token vectors, and asking it. Spec 0015."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, as_address
from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.cover_note import merge_notes
from dreamdb_arrow.columnar.notes import read_notes
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vectors import F32, I64
from dreamdb_arrow.columnar.vendor import add_track, has_columnar_layer
from dreamdb_arrow.dataset.delete import check_anchors
from dreamdb_arrow.dataset.evolve import check_beside, drop_column, schema_with, versions_taken
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.lookup import where_anchors
from dreamdb_arrow.dataset.ranking import check_spec
from dreamdb_arrow.dataset.spatial import load_spatial_index, registry_of_new_field
from dreamdb_arrow.dataset.token_search import MULTIVEC, read_tokens, search_tokens, token_field
from dreamdb_arrow.errors import InvalidInputError, LayoutError, UnsupportedError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.lineage import LAYER_PREFIX, TrackEntry
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import SCHEMA_KEY, Field, decode_schema, modality_of
from dreamdb_arrow.objects.spatial_index import LSH_L2
from dreamdb_arrow.objects.track import EMPTY_COVERAGE, Track
from dreamdb_arrow.spatial.partitioners import check_count
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX
from dreamdb_arrow.tracks.vectors import write_vectors

OPERATION: Final = "add_multi_vector_index"


class MultiVectors(Handle):
    """What a Dataset can do with fields that have a vector a token. A call that writes is one commit, and moves the handle on."""

    def add_multi_vector_index(
        self,
        field: str,
        parent: str,
        dim: int,
        max_tokens: int,
        docs: Iterable[tuple[int, Any]],
        spatial_index: bytes,
        compressor: bytes,
        embed_spec: bytes | None = None,
    ) -> None:
        """Add a field with several vectors a row, one a token, as a layer over another field.

        Args:
            field: its name.
            parent: the field that the vectors were computed from.
            dim: numbers in a vector.
            max_tokens: the most vectors that a row has; anchors times it must stay below 2^63.
            docs: pairs of an anchor and its row's vectors (n, dim), n at least 1.
            spatial_index: the address of published cells, which must be of cosines.
            compressor: the address of a published compressor; the exact vectors are kept beside its codes.
            embed_spec: not supported.

        Raises InvalidInputError when there is no such field below, the name is taken, or a row does not fit.
        """
        if embed_spec is not None:
            raise UnsupportedError(
                "fields that are bound to an embedding spec are made by the reference SDK only"
            )
        count = check_count("max_tokens", max_tokens)
        new = _declared(field, check_count("dim", dim), spatial_index, compressor, self.space.store)
        given = _checked(docs, new, count)
        self._version = _add(self.space.store, self._ref, new, parent, count, given, self._clock)

    def query_multi_vector(
        self,
        field: str,
        query_tokens: Any,
        top_k: int = 10,
        k_tok: int = 20,  # noqa: ARG002 - see below
        spec_id: bytes | None = None,
        *,
        where_eq: Mapping[str, Any] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
    ) -> list[tuple[int, float]]:
        """Return the anchors of the rows that answer a query best, with their scores, best first.

        The score is MaxSim: for each vector of the query the largest cosine with one of the row's, added up.

        Args:
            field: a multi-vector field.
            query_tokens: the vectors of the query's tokens, (q, dim).
            top_k: how many rows.
            k_tok: how many tokens the reference looks at for each of the query's; here every token is compared.
            spec_id: the address of the embedding spec that the query comes from; it must be the field's.
            where_eq: values that fields must have.
            where: conditions `(field, op, value)`, all of which must hold; op is one of == != < <= > >= in.

        Raises InvalidInputError for a field, query or option that is none.
        """
        check_spec(self._rows, token_field(self._rows, field)[0], spec_id)
        allowed = where_anchors(self._rows, where_eq, where)
        queries = _matrix(query_tokens, "the query")
        found = search_tokens(self._rows, field, queries, check_count("top_k", top_k), allowed=allowed)
        return list(zip(*(column.tolist() for column in found), strict=True))

    def token_vectors(self, field: str, anchors: Any) -> pa.Table:
        """Return `_anchor` and a multi-vector field's vectors, a list a row, of these anchors, in their order.

        Anchors without vectors, and deleted ones, are left out. Raises InvalidInputError for another field.
        """
        return read_tokens(self._rows, field, check_anchors(anchors))


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """Tokens as they are stored: anchors int64 (t,), of tokens, and vectors float32 (t, d)."""

    anchors: I64
    vectors: F32


def _declared(name: str, dim: int, index: Any, compressor: Any, store: Store) -> Field:
    """Return the field, with the algorithm of its cells. Raises InvalidInputError for an address that is none."""
    try:
        addresses = as_address(index), as_address(compressor)
    except LayoutError:
        raise InvalidInputError(
            f"spatial_index and compressor are addresses of {ADDRESS_BYTES} bytes, as the publishing functions return them"
        ) from None
    cells, coder = map(bytes, addresses)
    algorithm = load_spatial_index(store, addresses[0]).algorithm
    if algorithm == LSH_L2:
        raise InvalidInputError(
            f"field {name!r} is asked by cosines, and {algorithm} files vectors by distance"
        )
    options = {"dim": dim, "algorithm": algorithm, "spatial_index": cells, "compressor": coder}
    return Field("embedding", name, False, {**options, "rerank": True})


def _checked(docs: Iterable[tuple[int, Any]], f: Field, max_tokens: int) -> _Given:
    """Return the tokens of all rows. Raises InvalidInputError, naming the row."""
    anchors, parts = [], []
    for nth, pair in enumerate(docs):
        try:
            anchor, vectors = pair
        except (TypeError, ValueError):
            raise InvalidInputError(f"row {nth} is no pair of anchor and vectors: {pair!r:.60}") from None
        anchors.append(anchor)
        parts.append(_row_vectors(vectors, f, f"the row of anchor {anchor!r:.30}", max_tokens))
    if not anchors:
        raise InvalidInputError(f"field {f.name!r} needs at least one row")
    rows = check_anchors(anchors)
    if len(distinct(rows)) < len(rows):
        raise InvalidInputError(f"field {f.name!r}: an anchor is there twice")
    if int(rows.max()) > (VISIBLE_ANCHOR_MAX + 1) // max_tokens - 1:  # 0015-R3
        most = (VISIBLE_ANCHOR_MAX + 1) // max(1, int(rows.max()) + 1)
        raise InvalidInputError(
            f"anchor {rows.max()} times {max_tokens} tokens is too large; max_tokens may be {most} at most"
        )
    lengths = [len(part) for part in parts]
    numbers = np.concatenate([np.arange(n) for n in lengths])
    return _Given(np.repeat(rows, lengths) * max_tokens + numbers, np.concatenate(parts))


def _row_vectors(given: Any, f: Field, what: str, max_tokens: int) -> F32:
    vectors, dim = _matrix(given, what), f.options["dim"]
    if not 1 <= len(vectors) <= max_tokens or vectors.shape[1:] != (dim,):
        raise InvalidInputError(
            f"{what} needs 1 to {max_tokens} vectors of {dim} numbers; found shape {vectors.shape}"
        )
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise InvalidInputError(f"{what} has a vector that holds NaN or an infinity, or is zero")
    return vectors


def _matrix(given: Any, what: str) -> F32:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
            vectors = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{what} is no list of vectors: {given!r:.60}") from None
    if vectors.ndim != 2:
        raise InvalidInputError(f"{what} is a list of vectors; found shape {vectors.shape}")
    return vectors


def _add(
    store: Store, name: str, new: Field, over: str, max_tokens: int, given: _Given, clock: Clock
) -> Address:
    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        names = [f.name for f in decode_schema(parent.registry)]
        below = row_entry(parent, over) if over in names else None
        if below is None:
            raise InvalidInputError(f"no field {over!r}; fields: {', '.join(names) or 'none'}")
        check_beside(parent, new)
        registered = registry_of_new_field(store, batch, name, new)
        modality = f"{modality_of(new)}{MULTIVEC}.maxtokens={max_tokens}"
        taken = versions_taken(parent).get(modality, 0)
        modality += f".version={taken + 1}" if taken else ""
        track = _track(store, batch, Track(EMPTY_COVERAGE, modality, parent.timeline, []), new, given)
        role, at = f"{LAYER_PREFIX}{below.address}", add_track(batch, track)
        entry = TrackEntry("continuous", role, new.name, at, track.coverage, modality, parent.timeline)
        registry = {modality: registered, SCHEMA_KEY: schema_with(parent, [new])}
        return Change(OPERATION, (entry, *_columnar_entries(store, parent, batch, new.name)), registry)

    return commit(store, name, build, clock=clock)[0]


def _track(store: Store, batch: Batch, track: Track, f: Field, given: _Given) -> Track:
    address = as_address(f.options["spatial_index"])
    index = load_spatial_index(store, address)
    coder = as_address(f.options["compressor"])
    return write_vectors(
        store, batch, track, index, address, given.anchors, given.vectors, rerank=True, compressor=coder
    ).track


def _columnar_entries(store: Store, parent: Manifest, batch: Batch, name: str) -> list[TrackEntry]:
    """Return what the columnar layer needs: a note that drops what an earlier field of the name had in stripes."""
    if not has_columnar_layer(parent):
        return []
    said = merge_notes(read_notes(store, parent))
    there = name in said.tracks or name in said.payloads
    return [drop_column(store, parent, batch, name, said)] if there else []
