"""Datasets: a Ref, the version it was opened at, and the verbs on it. Spec 0006.

The names and arguments are the reference's. What they do lies in one file a verb beside this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dreamdb_arrow.codec.address import parse_address
from dreamdb_arrow.columnar.cache import DEFAULT_ROOT
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME
from dreamdb_arrow.dataset.append import append_rows
from dreamdb_arrow.dataset.arrays import Arrays
from dreamdb_arrow.dataset.branching import Branching
from dreamdb_arrow.dataset.chunks import BUFFER_BYTES, Source, source_of_samples
from dreamdb_arrow.dataset.create import create_dataset
from dreamdb_arrow.dataset.delete import check_anchors, delete_rows
from dreamdb_arrow.dataset.evolving import Evolving
from dreamdb_arrow.dataset.flush import Progress, flush
from dreamdb_arrow.dataset.graph import Graphs
from dreamdb_arrow.dataset.indexing import Indexing
from dreamdb_arrow.dataset.inspect import history, refs
from dreamdb_arrow.dataset.items import init_segment, list_items
from dreamdb_arrow.dataset.lookup import where_anchors
from dreamdb_arrow.dataset.ranking import search_options
from dreamdb_arrow.dataset.scan import TIME_MAX, count_rows, plan_scan, scan_batches
from dreamdb_arrow.dataset.schema import Schema, arrow_schema, describe, row_fields
from dreamdb_arrow.dataset.search import search
from dreamdb_arrow.dataset.searching import Searching
from dreamdb_arrow.dataset.space import Backend, Space
from dreamdb_arrow.dataset.stats import space_stats
from dreamdb_arrow.dataset.tables import as_rows, table_of_samples
from dreamdb_arrow.dataset.take import row_as_dict, take_rows
from dreamdb_arrow.dataset.tokens import MultiVectors
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Clock
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.refs import create_branch, create_snapshot
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import decode_schema
from dreamdb_arrow.spatial.partitioners import check_count

ANCHORS = "_time_anchors"  # the reference's name for the anchors of a batch


class Dataset(Evolving, Branching, Arrays, Graphs, Indexing, Searching, MultiVectors):
    """Rows of a Space, at one version of one Ref.

    A handle stays at the version it was opened at; its own writes move it on, `refresh()` moves it to the Ref's tip.
    Made by `create`, `open`, `open_ref` and `open_at`.
    """

    # ---------------------------------------------------------------- opening

    @classmethod
    def create(
        cls,
        name: str,
        schema: Schema,
        backend: Backend,
        *,
        flush: str = "manual",
        cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
        durability: str = "fsync",
        clock: Clock = time.time_ns,
    ) -> Self:
        """Create an empty dataset.

        Args:
            name: its Ref: segments of a-z, 0-9, `_`, `-`, separated by `/`.
            schema: its fields.
            backend: `file:///path`, a path, `memory://name`, or a store.
            flush: `manual` (when `flush()` is called) or `commit` (with each append): when the Tracks, which other
                SDKs read, are brought up to date.
            cache_dir: where projections are kept.
            durability: `fsync` (a commit is on the disk before it counts) or `os` (it survives a killed process, not a
                power cut).
            clock: nanoseconds since 1970.

        Raises RefExistsError when the name is taken.
        """
        space = Space(backend, create=True, cache_dir=cache_dir, durability=durability)
        version = create_dataset(space.store, name, schema.fields, flush, clock)
        return cls(space, name, version, clock)

    @classmethod
    def open(
        cls,
        name: str,
        schema: Schema | None = None,
        backend: Backend = "",
        *,
        as_of: str | datetime | int | None = None,
        cache_dir: str | os.PathLike[str] | None = DEFAULT_ROOT,
        durability: str = "fsync",
        offline: bool = False,
    ) -> Self:
        """Open a dataset at the tip of its Ref, or at a snapshot label, version or time.

        With `offline`, a bucket is asked for nothing: the local cache answers, or an error says what it lacks.

        Raises RefNotFoundError, with the Refs there are; InvalidInputError when a schema is given and differs.
        """
        space = Space(backend, cache_dir=cache_dir, durability=durability, offline=offline)
        opened = cls(space, name, space.resolve(name, as_of))
        if schema is not None and sorted(map(describe, schema.fields)) != sorted(
            map(describe, opened.schema.fields)
        ):
            raise InvalidInputError(f"the schema of {name!r} is {opened.schema!r}, not {schema!r}")
        return opened

    @classmethod
    def open_ref(cls, ref_name: str, backend: Backend, **options: Any) -> Self:
        """Open any Ref: a dataset, a branch or a snapshot."""
        return cls.open(ref_name, backend=backend, **options)

    @classmethod
    def open_at(cls, version: Mapping[str, str] | str, backend: Backend, **options: Any) -> Self:
        """Open a version by what `snapshot` returned, a snapshot's Ref name, a Manifest address, or `<ref>@<time>`.

        A time is one that `open` takes as `as_of`, such as `hello@2026-11-23T05:30:00`.
        """
        space = Space(backend, **options)
        if isinstance(version, str):
            if "@" not in version:
                return cls(space, version, parse_address(version))
            return cls(space, version, space.find(version))
        try:
            label, manifest = version["label"], version["manifest"]
        except KeyError as error:
            raise InvalidInputError(
                f"a version has label, manifest and timeline; {error} is missing"
            ) from None
        return cls(space, label, parse_address(manifest))

    @classmethod
    def open_by_manifest(cls, manifest_hash: str, backend: Backend, **options: Any) -> Self:
        """Open a version by the text form of its Manifest's address."""
        return cls.open_at(manifest_hash, backend, **options)

    # ---------------------------------------------------------------- what it is

    @property
    def manifest(self) -> Manifest:
        """The Manifest of this version."""
        return load_manifest(self.space.store, self._version)

    @property
    def schema(self) -> Schema:
        """The fields, as this version declares them; read from its Manifest alone."""
        return Schema(list(decode_schema(self.manifest.registry)))

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of a scan, with what each field is as metadata."""
        return arrow_schema(self._rows.fields, self._rows.unavailable)

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Fields that cannot be read, with the reason."""
        return self._rows.unavailable

    def ref_name(self) -> str:
        """Return the Ref that this handle was opened at."""
        return self._ref

    def current_manifest(self) -> str:
        """Return the version, as the text form of its Manifest's address."""
        return str(self._version)

    def timeline(self) -> str:
        """Return the address of the timeline."""
        return str(self.manifest.timeline)

    def __len__(self) -> int:
        return self.count()

    def __repr__(self) -> str:
        fields = ", ".join(describe(f) for f in self._rows.fields)
        return f"Dataset({self._ref!r} at {str(self._version)[:12]}.., {self.space.store.url}, {fields})"

    def count(self, start_ns: int = 0, end_ns: int | None = None) -> int:
        """Return how many live rows there are, all or in [start_ns, end_ns)."""
        return count_rows(self._rows, start_ns, TIME_MAX if end_ns is None else end_ns)

    def history(self, max_depth: int | None = 50) -> list[dict[str, Any]]:
        """Return this version and those before it by first parents, newest first."""
        return history(self.space.store, self._version, max_depth)

    def list_refs(self) -> list[str]:
        """Return the names of all Refs of the Space."""
        return [row["ref"] for row in refs(self.space.store)]

    def stats(self) -> dict[str, Any]:
        """Return what the bucket was asked for since this Space was opened, and `hit_rate`; see `dataset.stats`."""
        return space_stats(self.space)

    def items(self, field: str) -> pa.Table:
        """Return what is known of the values of a media, video_item or geometry field besides their bytes, by anchor.

        Columns: `_anchor`, `t1` (where a value ends, in ns), `size`, `object`, `init`, `key`, `detail`; see `dataset.items`.
        """
        return list_items(self._rows, field)

    def init_segment(self, field: str, anchor: int | None = None) -> bytes | None:
        """Return the bytes that go before the fragments of a CMAF field, or before the video item at an anchor."""
        return init_segment(self._rows, field, anchor)

    def tombstone_set(self) -> list[int]:
        """Return the deleted anchors, ascending."""
        return [int(a) for a in self._rows.hidden]

    # ---------------------------------------------------------------- writing

    def append(self, data: Any, *, time: str | None = None, buffer_bytes: int = BUFFER_BYTES) -> int:
        """Append rows as one commit and return how many there were.

        A stream may be larger than memory: it is written a chunk at a time, and shows only when all of it is there.

        Args:
            data: anything with an Arrow stream (pyarrow, Polars, pandas, a DuckDB relation), a lazy frame of Polars, or a
                dict of columns.
                Anchors are its `_anchor` column (int64 nanoseconds) or `_time`; without either they are assigned
                from now on, a microsecond apart.
            time: a column whose times become the anchors. Rows that share a time are spread by one nanosecond each,
                in the order of the rows, after any that the Space already holds at that time.
            buffer_bytes: how many bytes of rows wait in memory: one half is read while the other is checked and written, for
                which it may be copied once. In a Space without a columnar layer all rows are in memory.

        Raises InvalidInputError, naming field and row, or AnchorConflict; nothing is published then. Raises
        ConflictError when the fields are changed while a stream is read.
        """
        rows = as_rows(data)
        return self._append(Source(lambda _: rows, buffer_bytes), time)

    def append_many(self, samples: Iterable[Mapping[str, Any]]) -> int:
        """Append dicts, one a row, keyed by field, as one commit; return how many. A table goes the way of `append`.

        Each may carry `_anchor`, in nanoseconds; all of them or none.
        """
        if hasattr(samples, "__arrow_c_stream__"):
            return self.append(samples)
        rows = list(samples)
        return self._append(source_of_samples(rows, table_of_samples), None)

    def _append(self, source: Source, time: str | None) -> int:
        n, self._version, _ = append_rows(
            self.space.store, self.space.cache, self._ref, source, time, self._clock
        )
        return n

    def delete(self, anchors: Any, reason: str | None = None) -> str:
        """Hide rows from all later reads and return the new version; older versions still show them."""
        self._version, _ = delete_rows(self.space.store, self._ref, anchors, reason, self._clock)
        return str(self._version)

    def flush(self, progress: Progress | None = None) -> int:
        """Bring the Tracks, which other SDKs read, up to date with the rows; return how many stripes that took."""
        done = flush(self.space.store, self.space.cache, self._ref, progress, self._clock)
        self.refresh()
        return done

    def snapshot(self, label: str) -> dict[str, str]:
        """Name this version `<ref>@<label>` for good; the result is what `open_at` takes."""
        timeline = str(self._rows.timeline)  # a version that cannot be read is not worth a name
        name = create_snapshot(self.space.store, self._ref, label, self._version)
        return {"label": name, "manifest": str(self._version), "timeline": timeline}

    def branch(self, new_name: str, as_of: str | datetime | int | None = None) -> Self:
        """Make a Ref at this version and return a dataset on it; writes to it leave this Ref alone.

        `as_of` names another version of this Ref, as `open` takes it. Raises RefExistsError.
        """
        version = self._version if as_of is None else self.space.resolve(self._ref, as_of)
        _ = self.space.rows(version).timeline  # a version that cannot be read is no place to go on from
        create_branch(self.space.store, new_name, version)
        return type(self)(self.space, new_name, version, self._clock)

    def refresh(self) -> Self:
        """Move this handle to the tip of its Ref."""
        self._version = self.space.resolve(self._ref)
        return self

    # ---------------------------------------------------------------- reading

    def iter_arrow_batches(
        self,
        batch_size: int = 256,
        fields: Sequence[str] | None = None,
        start_ns: int = 0,
        end_ns: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as Arrow batches, ascending by `_anchor`, which comes first."""
        plan = plan_scan(self._rows, self._columns(fields), start_ns, _end(end_ns))
        return scan_batches(plan, batch_size)

    def iter_stream(
        self,
        batch_size: int = 256,
        fields: Sequence[str] | None = None,
        start_ns: int = 0,
        end_ns: int | None = None,
    ) -> Iterator[dict[str, list[Any]]]:
        """Yield the rows as dicts of lists, by field, with the anchors under `_time_anchors`."""
        for batch in self.iter_arrow_batches(batch_size, fields, start_ns, end_ns):
            yield _as_lists(batch)

    def iter_vector(
        self,
        field: str,
        query: Any,
        top_k: int,
        batch_size: int = 64,
        where_eq: Mapping[str, Any] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
        as_numpy: bool = False,
        nprobe: int | None = None,
        fields: Sequence[str] | None = None,
        spec_id: bytes | None = None,
        rerank_pool_size: int | None = None,
        rerank_mode: str = "inherit",
    ) -> list[dict[str, Any]]:
        """Return the rows whose vectors are nearest to the query, nearest first, as dicts of lists.

        Args:
            field: the embedding field.
            query: `dim` numbers.
            top_k: how many rows.
            batch_size: rows a dict.
            where_eq: values that fields must have.
            where: conditions `(field, op, value)`, all of which must hold; op is one of == != < <= > >= in.
            as_numpy: give vectors as one array (b, dim).
            nprobe: how many cells to read; None compares every vector, or, where codes choose rows, reads 32 cells.
            fields: which fields to return beside the vectors; None for all.
            spec_id: the address of the embedding spec that the query comes from; it must be the field's.
            rerank_pool_size: of a field with codes, how many rows these choose, to be compared by their exact vectors.
            rerank_mode: `approximate`: codes alone choose the rows; `exact`: refuse a field that holds codes alone.

        Raises InvalidInputError for a field, query or option that is none.
        """
        queries, size = _as_query(query), check_count("batch_size", batch_size)
        rows = self.space.rows(self._version, for_search=True)
        nprobe, pool = search_options(rows, field, top_k, nprobe, rerank_pool_size, rerank_mode, spec_id)
        allowed = where_anchors(rows, where_eq, where)
        anchors, _ = search(rows, field, queries, top_k, nprobe=nprobe, pool=pool, allowed=allowed)
        hits = anchors[0][anchors[0] >= 0]
        table = self._take(hits, None if fields is None else [field, *(n for n in fields if n != field)])
        return [_as_lists(b, field if as_numpy else None) for b in table.to_batches(max_chunksize=size)]

    def take(self, anchors: Any, fields: Sequence[str] | None = None) -> pa.Table:
        """Return the live rows of these anchors, in their order; anchors without a row are left out.

        An anchor that is named twice gives its row twice. `_anchor` comes first, then the fields, all unless named.
        """
        return self._take(check_anchors(anchors), fields)

    def get_by_anchor(self, anchor: int, fields: Sequence[str] | None = None) -> dict[str, Any] | None:
        """Return the row of an anchor as a dict, in the form that `append_many` takes; None when there is none.

        Under `_anchor` the anchor, under each field its value as in `iter_stream`: a vector is a list of floats, media are
        bytes, a timestamp is nanoseconds since 1970, None stands for no value.
        """
        return row_as_dict(self._take(check_anchors(anchor), fields))

    def _take(self, anchors: np.ndarray[Any, np.dtype[np.int64]], fields: Sequence[str] | None) -> pa.Table:
        return take_rows(plan_scan(self._rows, self._columns(fields)), anchors)

    def _columns(self, fields: Sequence[str] | None) -> list[str]:
        names = [f.name for f in row_fields(self._rows.fields, self._rows.unavailable)]
        return [ANCHOR, *(names if fields is None else [n for n in fields if n != ANCHOR])]


def _end(end_ns: int | None) -> int:
    return TIME_MAX if end_ns is None else end_ns


def _as_query(query: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
            return np.asarray(query, dtype=np.float32).reshape(1, -1)
    except (TypeError, ValueError):
        raise InvalidInputError(f"the query is no vector: {query!r:.60}") from None


def _as_lists(batch: pa.RecordBatch, numpy_field: str | None = None) -> dict[str, Any]:
    """Return a batch in the reference's form."""
    out: dict[str, Any] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if name == numpy_field:
            out[name] = np.asarray(column.flatten()).reshape(len(column), -1)
        elif name not in (ANCHOR, TIME):
            if pa.types.is_timestamp(column.type):
                column = pc.cast(column, pa.int64())
            out[name] = column.to_pylist()
    out[ANCHORS] = batch.column(ANCHOR).to_pylist()
    return out
