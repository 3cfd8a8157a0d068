"""The search of a Dataset. Spec 0004."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.stripe import ANCHOR
from dreamdb_arrow.dataset.delete import check_anchors
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.lookup import where_anchors
from dreamdb_arrow.dataset.scan import TIME_MAX
from dreamdb_arrow.dataset.search import Report, search
from dreamdb_arrow.errors import InvalidInputError

F32 = np.ndarray[Any, np.dtype[np.float32]]
DISTANCE = "_distance"


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What is nearest: anchors int64 and distances float64, (q, j), or (j,) for one query; nearest first.

    An anchor of -1, infinitely far, fills up a query that found fewer. `report` says what was done.
    """

    anchors: Any
    distances: Any
    report: Report

    def __len__(self) -> int:
        return len(self.anchors)

    def to_arrow(self) -> pa.Table:
        """Return one row a hit: `query` (its number), `_anchor`, `_distance`."""
        anchors, distances = np.atleast_2d(self.anchors), np.atleast_2d(self.distances)
        found = anchors >= 0
        queries = np.broadcast_to(np.arange(len(anchors))[:, None], anchors.shape)
        return pa.table(
            {"query": queries[found], ANCHOR: anchors[found], DISTANCE: distances[found]},
        )

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Give the table to whoever takes Arrow streams."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


class Searching(Handle):
    """How a Dataset finds what is near."""

    def search(
        self,
        field: str,
        query: Any,
        k: int = 10,
        *,
        nprobe: int | None = None,
        recall: float | None = None,
        pool: int | None = None,
        where_eq: Mapping[str, Any] | None = None,
        where: Sequence[tuple[str, str, Any]] | None = None,
        anchors: Any = None,
        start_ns: int = 0,
        end_ns: int | None = None,
    ) -> Hits:
        """Return the rows whose vectors are nearest to one query or to each of many.

        Without `nprobe` and `recall` every vector is compared and the answer is exact. Conditions come first: whenever k
        rows satisfy them, k rows come back.

        Args:
            field: the embedding field.
            query: `dim` numbers, or many queries (q, dim): an array, lists, or a fixed-size list of Arrow.
            k: how many rows.
            nprobe: how many cells to read.
            recall: instead, the share of the nearest rows to find, above 0 to 1; those cells are read that the vectors of
                this version needed for it.
            pool: of a field with codes, how many rows are chosen by these and then compared by their exact vectors; None
                compares all rows of the cells by their vectors.
            where_eq: values that fields must have.
            where: conditions `(field, op, value)`, all of which must hold; op is one of == != < <= > >= in.
            anchors: only these rows.
            start_ns: only rows from this anchor on.
            end_ns: only rows before this anchor.

        Raises InvalidInputError for a field, query or option that is none.
        """
        queries, one = as_queries(query)
        rows = self.space.rows(self._version, for_search=True)
        allowed = where_anchors(rows, where_eq, where)
        if anchors is not None:
            listed = distinct(check_anchors(anchors))
            allowed = listed if allowed is None else np.intersect1d(allowed, listed, assume_unique=True)
        report, began = Report(), time.perf_counter()
        found, distances = search(
            rows,
            field,
            queries,
            k,
            nprobe=nprobe,
            recall=recall,
            pool=pool,
            t0=start_ns,
            t1=TIME_MAX if end_ns is None else end_ns,
            allowed=allowed,
            report=report,
        )
        report.seconds = time.perf_counter() - began
        return Hits(found[0], distances[0], report) if one else Hits(found, distances, report)


def as_queries(query: Any) -> tuple[F32, bool]:
    """Return queries float32 (q, dim), and whether it was one alone. Raises InvalidInputError."""
    if isinstance(query, (pa.Array, pa.ChunkedArray)):
        query = [row.as_py() for row in query] if query.null_count else _matrix(query)
    try:
        with np.errstate(over="ignore"):  # what is too large becomes an infinity, and is refused as such
            queries = np.asarray(query, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidInputError(f"the query is no vector: {query!r:.60}") from None
    if queries.ndim not in (1, 2) or not queries.size:
        raise InvalidInputError(f"a query is a vector, many are (q, dim); found shape {queries.shape}")
    return np.atleast_2d(queries), queries.ndim == 1


def _matrix(column: Any) -> Any:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(whole.flatten()).reshape(len(whole), -1) if pa.types.is_nested(whole.type) else whole
