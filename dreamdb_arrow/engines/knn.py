"""Vector search as a function over Arrow columns: a batch of queries in, a list of hits for each out. Spec 0006."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, parse_address
from dreamdb_arrow.codec.distinct import distinct
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.dataset.delete import check_anchors
from dreamdb_arrow.dataset.scope import EVERYTHING, Scope
from dreamdb_arrow.dataset.search import Report, search
from dreamdb_arrow.dataset.searching import as_queries
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.engines.arguments import time_range
from dreamdb_arrow.engines.late_columns import whole
from dreamdb_arrow.engines.result_types import FOUND, REPORT, arrow_type
from dreamdb_arrow.errors import DreamDBError, InvalidInputError

FOUND_TYPE: Final = arrow_type(FOUND)
Versions = Callable[[str | None, Any, int], Address]
Allowed = Callable[[str, Address, str, int, int], I64]


@dataclass(frozen=True, slots=True)
class Knn:
    """Searches of one Space: which version a Ref has (`Planner.version`), and which anchors satisfy a condition in SQL."""

    space: Space
    version: Versions
    allowed: Allowed
    scope: Scope = EVERYTHING

    def answer(self, ref: Any, field: Any, queries: Any, options: Any, txid: Any, _: Any) -> Any:
        """Answer a batch of queries; those that share their arguments are searched together."""
        keys = list(zip(*(whole(c).to_pylist() for c in (ref, field, options)), strict=True))
        vectors = whole(queries)
        found: list[dict[str, Any]] = [{"hits": [], "report": None, "error": None} for _ in keys]
        for key in dict.fromkeys(keys):
            at = [i for i, k in enumerate(keys) if k == key and vectors[i].is_valid]
            try:
                wanted = vectors.take(pa.array(at, pa.int64()))
                rows, report = self._search(key, wanted, txid[0].as_py()) if at else ([], None)
            except (DreamDBError, OSError) as error:
                return pa.array(
                    [{"hits": [], "report": None, "error": _one_line(error)}] * len(keys), FOUND_TYPE
                )
            for i, hits in zip(at, rows, strict=True):
                found[i] |= {"hits": hits, "report": report}
        return pa.array(found, FOUND_TYPE)

    def hits(self, key: Any, query: Any, anchors: Any) -> dict[str, Any]:
        """Answer one query of dreamdb_search.

        Args:
            key: JSON: the Ref, the version's address, the field, k, nprobe, recall, pool, the condition, t0, t1.
            query: the numbers, or None.
            anchors: those that count, or None for all.
        """
        found: dict[str, Any] = {"anchors": [], "distances": [], "error": None}
        if query is None:
            return found
        ref, version, field, k, nprobe, recall, pool, condition, t0, t1 = json.loads(key)
        options = {
            "k": k,
            "nprobe": nprobe,
            "recall": recall,
            "pool": pool,
            "filter": condition,
            "t0": t0,
            "t1": t1,
        }
        try:
            queries = as_queries(query)[0]
            rows, far = self._found(
                ref, parse_address(version), field, queries, options | {"anchors": anchors}
            )
        except (DreamDBError, OSError) as error:
            return found | {"error": _one_line(error)}
        there = rows[0] >= 0
        return found | {"anchors": rows[0][there].tolist(), "distances": far[0][there].tolist()}

    def _search(
        self, key: tuple[str, str, str], queries: pa.Array, txid: int
    ) -> tuple[list[list[dict[str, Any]]], dict[str, Any]]:
        """Return the hits of each query, and what was done for all of them."""
        began, report = time.perf_counter(), Report()
        ref, field, text = key
        options = json.loads(text)
        version = self.version(ref, options.get("as_of"), txid)
        anchors, distances = self._found(ref, version, field, _query_matrix(queries), options, report)
        hits = [
            [{"_anchor": a, "_distance": d} for a, d in zip(row, far, strict=True) if a >= 0]
            for row, far in zip(anchors.tolist(), distances.tolist(), strict=True)
        ]
        told = {name: getattr(report, name) for name in REPORT if name != "milliseconds"}
        return hits, told | {"milliseconds": (time.perf_counter() - began) * 1e3}

    def _found(
        self,
        ref: str,
        version: Address,
        field: str,
        queries: Any,
        options: Mapping[str, Any],
        report: Report | None = None,
    ) -> tuple[I64, Any]:
        """Return anchors and distances as `search` does, for options as they come out of SQL."""
        t0, t1 = self.scope.cut(*time_range(options.get("t0"), options.get("t1")))  # 0023-R10
        rows, listed = self.space.rows(version), options.get("anchors")
        allowed = self._allowed(rows, ref, options.get("filter"), t0, t1)
        if listed is not None:
            wanted = distinct(check_anchors([a for a in listed if a is not None]))
            allowed = wanted if allowed is None else np.intersect1d(allowed, wanted, assume_unique=True)
        how = {name: options.get(name) for name in ("nprobe", "recall", "pool")}
        return search(rows, field, queries, options["k"], **how, t0=t0, t1=t1, allowed=allowed, report=report)

    def _allowed(self, rows: RowSet, ref: str, condition: Any, t0: int, t1: int) -> I64 | None:
        if condition is None:
            return None
        if not isinstance(condition, str):
            raise InvalidInputError("filter must be a condition as text")
        key = f"{t0} {t1} {condition}"
        return rows.recently("filter", key, lambda: self.allowed(ref, rows.address, condition, t0, t1))


def _one_line(error: Exception) -> str:
    return f"dreamdb: {' '.join(str(error).split())}"


def _query_matrix(queries: pa.Array) -> Any:
    lengths = set(queries.value_lengths().to_pylist())
    flat = queries.flatten()
    if len(lengths) != 1 or flat.null_count:
        raise InvalidInputError(
            "the queries of one search must have the same number of dimensions, none missing"
        )
    return np.asarray(flat, dtype=np.float32).reshape(len(queries), -1)
