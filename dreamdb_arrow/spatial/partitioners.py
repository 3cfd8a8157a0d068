"""Partitioners: vectors to the cells they lie in, queries to the cells worth reading. Spec 0004.

A cell is named by a key of `bits` bits, as text of `0` and `1`. Each algorithm is two functions: `assign` gives
each vector its key, `probe` gives a query the keys of the best cells, best first. Keys are rows of bits between
the two, so that no width of a number limits them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.ragged import spread as ranks
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.bits import Bits, bit_texts, distinct_rows, number_bits
from dreamdb_arrow.kernels.blocks import row_blocks, side_by_side, stacked
from dreamdb_arrow.kernels.distance import row_norms, unit_rows
from dreamdb_arrow.kernels.kmeans import nearest_centroids
from dreamdb_arrow.kernels.lsh import (
    cheapest_flips,
    hyperplanes,
    line_axis,
    line_positions,
    plane_margins,
    plane_sides,
)
from dreamdb_arrow.kernels.tiles import all_products
from dreamdb_arrow.kernels.topk import smallest
from dreamdb_arrow.objects.spatial_index import (
    IMI_COSINE,
    IVF_COSINE,
    LSH_COSINE,
    LSH_L2,
    ImiCosineParams,
    IvfCosineParams,
    LshCosineParams,
    LshL2Params,
    SpatialIndex,
    centroid_rows,
)
from dreamdb_arrow.spatial.threads import THREADS, spread

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Keys = NDArray[np.bytes_]

DEFAULT_NPROBE: Final = 32
MAX_NPROBE: Final = 1 << 20
_TOGETHER: Final = 64  # queries that one thread probes for
_TENTH: Final = 10
_OF_BEST: Final = np.float32(0.5)  # measured on GloVe, WordNet and a mixture: benchmarks/kernels/reach.py
_OF_TENTH: Final = np.float32(0.75)
_MIDDLE: Final = 1 << 63  # the key of an l2 bin is its number above this


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Where rows lie: the distinct keys in order, and for each row the place of its key, int64 (n,)."""

    keys: list[str]
    codes: I64


def assign_cells(index: SpatialIndex, vectors: F32) -> Cells:
    """Return the cells of vectors, float32 (n, dim).

    Raises InvalidInputError, with the row, for a vector that has no cell: another dim, NaN or infinity, no
    direction where the metric is cosine, or too far out where it is l2.
    """
    vectors = check_vectors(index, vectors)
    rows, codes = distinct_rows(_PARTITIONERS[index.algorithm].assign(index, vectors))
    return Cells(bit_texts(rows), codes)


def probe_cells(index: SpatialIndex, query: F32, nprobe: int = DEFAULT_NPROBE) -> list[str]:
    """Return the keys of the `nprobe` cells to read for a query, float32 (dim,), best first.

    Fewer come back when the index has fewer, or, of lsh, fewer within two flipped bits. Raises
    InvalidInputError for a query that has no cell, and for an nprobe below 1 or above MAX_NPROBE.
    """
    nprobe = _check_nprobe(nprobe)
    checked = check_vectors(index, np.asarray(query, dtype=np.float32).reshape(1, -1), "query")
    return bit_texts(_PARTITIONERS[index.algorithm].probe(index, checked[0], nprobe))


@dataclass(frozen=True, slots=True, eq=False)
class Prober:
    """Which cells are worth reading, as places among the cells that there are.

    index    the index
    places   keys, bytes of any shape -> their places, int64; -1 for a cell that is not there
    numbers  of ivf: the places of its cells by number, int64 (c,)
    """

    index: SpatialIndex
    places: Callable[[Keys], I64]
    numbers: I64 | None

    @classmethod
    def of(cls, index: SpatialIndex, places: Callable[[Keys], I64]) -> Prober:
        """Return the prober of an index, for the cells that `places` finds."""
        if index.algorithm != IVF_COSINE:
            return cls(index, places, None)
        every = np.arange(len(_centroids_of(index)))
        return cls(index, places, places(_bytes_of_keys(_number_bits(index, every))))

    def prepared(self, queries: F32) -> F32:
        """Return queries, float32 (q, dim), as probing and scoring want them: of length one where the metric is cosine.

        Raises InvalidInputError as probe_cells does.
        """
        if self.index.metric != "cosine":
            return check_vectors(self.index, queries, "query")
        norms = row_norms(queries)
        directed = (norms > 0) & (norms < np.inf)  # 0004-R3
        if queries.shape[1] != self.index.dim or not directed.all():
            check_vectors(self.index, queries, "query")
        unit: F32 = queries * (np.float32(1) / norms)[:, None]
        return unit

    def __call__(self, queries: F32, nprobe: int) -> I64:
        """Return the places of the cells to read for prepared queries, best first: int64 (q, p), p at most nprobe.

        Raises InvalidInputError for an nprobe that is none.
        """
        nprobe = _check_nprobe(nprobe)
        if self.numbers is not None:
            return self.numbers[_probe_ivf_batch(self.index, queries, nprobe)]
        probe = _PARTITIONERS[self.index.algorithm].probe
        return side_by_side(
            [self.places(_bytes_of_keys(probe(self.index, query, nprobe))) for query in queries], -1
        )

    def within(self, queries: F32, reach: float) -> I64:
        """Return the places of the cells of an ivf whose centroids are near enough to prepared queries, best first.

        A query that lies near to some centroids needs fewer cells than one that lies between many. So a cell is read whose
        product with the query is at least that of the best and that of the tenth best, weighted, less `reach`; the best cell
        always is. Spec 0004.

        Returns:
            int64 (q, p); -1 fills up a query that has fewer.
        """
        assert self.numbers is not None
        if len(queries) > _TOGETHER:
            parts = [queries[rows] for rows in row_blocks(len(queries), 1, -(-len(queries) // THREADS))]
            return stacked(spread(lambda part: self._within(part, reach), parts), -1)
        return self._within(queries, reach)

    def _within(self, queries: F32, reach: float) -> I64:
        assert self.numbers is not None
        products = all_products(queries, _centroids_of(self.index))
        enough = np.minimum(_reference(products) - np.float32(reach), products.max(axis=1, initial=-np.inf))
        if len(queries) == 1:
            return self.numbers[np.flatnonzero(products[0] >= enough[0])][None, :]
        query, number = np.nonzero(products >= enough[:, None])
        order = np.lexsort((-products[query, number], query))
        query, places = query[order], self.numbers[number[order]]
        counts = np.bincount(query, minlength=len(queries))
        table = np.full((len(queries), int(counts.max(initial=0))), -1, np.int64)
        table[query, ranks(counts)] = places
        return table

    def reach_of(self, queries: F32, places: I64) -> F32:
        """Return how far prepared queries (q, d) must reach to read the cells at places (q, k), float32 (q, k)."""
        assert self.numbers is not None
        products = all_products(queries, _centroids_of(self.index))
        numbers = np.full(
            max(int(places.max(initial=-1)), int(self.numbers.max(initial=-1))) + 2, 0, np.int64
        )
        numbers[self.numbers] = np.arange(len(self.numbers))
        reaches: F32 = _reference(products)[:, None] - np.take_along_axis(products, numbers[places], axis=1)
        return reaches


def _reference(products: F32) -> F32:
    """Return of each query's products with the centroids (q, c) what a cell's is compared with, float32 (q,)."""
    tenth = min(_TENTH, products.shape[1])
    best = np.partition(products, products.shape[1] - tenth, axis=1)[:, products.shape[1] - tenth :]
    reference: F32 = _OF_BEST * best.max(axis=1) + _OF_TENTH * best[:, 0]
    return reference


def _bytes_of_keys(bits: Bits) -> Keys:
    """Return keys as bytes: they sort as cells lie in a Track."""
    texts = np.ascontiguousarray(bits.view(np.uint8) + np.uint8(ord("0")))  # 0004-R2
    return texts.view(f"S{bits.shape[1]}").reshape(-1)


def _check_nprobe(nprobe: int) -> int:
    nprobe = check_count("nprobe", nprobe)
    if nprobe > MAX_NPROBE:
        raise InvalidInputError(f"nprobe is at most {MAX_NPROBE}; to read every cell, read the Track")
    return nprobe


def check_count(name: str, value: Any) -> int:
    """Return a count as int; raises InvalidInputError unless it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInputError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def check_vectors(index: SpatialIndex, vectors: F32, what: str = "vector") -> F32:
    """Return the vectors as float32 (n, dim), or raise InvalidInputError with the first row that cannot be used."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != index.dim:  # 0004-R3
        raise InvalidInputError(f"a {what} here has {index.dim} numbers, found shape {vectors.shape}")
    for rows in row_blocks(len(vectors), 4 * index.dim):
        finite = np.isfinite(vectors[rows]).all(axis=1)
        if not finite.all():  # 0004-R3
            _refuse_row(what, rows.start + int(finite.argmin()), "holds NaN or infinity")
        if index.metric == "cosine":
            norms = row_norms(vectors[rows])
            directed = (norms > 0) & (norms < np.inf)  # 0004-R3
            if not directed.all():
                _refuse_row(what, rows.start + int(directed.argmin()), "has a length of zero, or too large")
    return vectors


def _refuse_row(what: str, row: int, problem: str) -> None:
    raise InvalidInputError(f"{what} {row} {problem}")


# --- lsh-cosine: sides of hyperplanes ------------------------------------------------------------------------


@lru_cache(maxsize=8)  # the stream of a seed never changes, and takes longer to make than a query to answer
def _planes(seed: bytes, bits: int, dim: int) -> F64:
    planes = hyperplanes(seed, bits, dim)
    planes.setflags(write=False)
    return planes


def _planes_of(index: SpatialIndex) -> F64:
    assert isinstance(index.params, LshCosineParams)
    return _planes(index.params.seed, index.bits, index.dim)


def _assign_lsh_cosine(index: SpatialIndex, vectors: F32) -> Bits:
    return plane_sides(_planes_of(index), vectors)


def _probe_lsh_cosine(index: SpatialIndex, query: F32, nprobe: int) -> Bits:
    planes = _planes_of(index)
    flips = cheapest_flips(plane_margins(planes, query), nprobe)  # 0004-R7
    keys = np.repeat(plane_sides(planes, query[None, :]), len(flips), axis=0)
    row, side = np.nonzero(flips >= 0)
    keys[row, flips[row, side]] ^= True
    return keys


# --- lsh-l2: bins of a line ----------------------------------------------------------------------------------


def _positions(index: SpatialIndex, vectors: F32) -> F64:
    assert isinstance(index.params, LshL2Params)
    axis, offset = line_axis(index.params.seed, index.dim, index.params.bucket_width)
    positions = line_positions(axis, offset, index.params.bucket_width, vectors)
    inside = np.abs(positions) < float(_MIDDLE)  # 0004-R8
    if not inside.all():
        _refuse_row("vector", int(inside.argmin()), "lies outside the bins of its index")
    return positions


def _bin_bits(bins: I64) -> Bits:
    return number_bits(bins.view(np.uint64) ^ np.uint64(_MIDDLE), 64)


def _assign_lsh_l2(index: SpatialIndex, vectors: F32) -> Bits:
    return _bin_bits(np.floor(_positions(index, vectors)).astype(np.int64))  # 0004-R8


def _probe_lsh_l2(index: SpatialIndex, query: F32, nprobe: int) -> Bits:
    position = float(_positions(index, query[None, :])[0])
    own = int(np.floor(position))
    # The nearest nprobe bins lie within nprobe of the own one, on either side.
    low, high = max(own - nprobe, -_MIDDLE), min(own + nprobe, _MIDDLE - 1)
    bins = own + np.arange(low - own, high - own + 1)
    inside = position - own
    steps = (bins - own).astype(np.float64)
    gaps = np.maximum(np.maximum(steps - inside, inside - steps - 1), 0)
    return _bin_bits(bins[smallest(gaps[None, :], nprobe)[0]])  # 0004-R9


# --- ivf-cosine: nearest of the centroids --------------------------------------------------------------------


def _centroids_of(index: SpatialIndex) -> F32:
    assert isinstance(index.params, IvfCosineParams)
    return centroid_rows(index.params.centroids, index.dim)


def _assign_ivf_cosine(index: SpatialIndex, vectors: F32) -> Bits:
    return _number_bits(index, _best_rows(vectors, _centroids_of(index)))  # 0004-R10


def _probe_ivf_batch(index: SpatialIndex, queries: F32, nprobe: int) -> I64:
    """Return the numbers of the best cells of queries of length one (q, dim), best first: int64 (q, p)."""
    centroids = _centroids_of(index)
    found = [
        smallest(all_products(-queries[rows], centroids), nprobe)  # 0004-R11
        for rows in row_blocks(len(queries), 4 * len(centroids))
    ]
    return np.concatenate(found) if found else np.empty((0, 0), np.int64)


def _probe_ivf_cosine(index: SpatialIndex, query: F32, nprobe: int) -> Bits:
    return _number_bits(index, _probe_ivf_batch(index, unit_rows(query[None, :]), nprobe)[0])


# --- imi-cosine: a codebook for each half --------------------------------------------------------------------


def _halves_of(index: SpatialIndex) -> tuple[F32, F32, int]:
    """Return the codebooks of the first and the second half, and how many rows each has."""
    assert isinstance(index.params, ImiCosineParams)
    half = index.dim // 2
    high, low = centroid_rows(index.params.high, half), centroid_rows(index.params.low, half)
    return high, low, index.params.k_sub


def _assign_imi_cosine(index: SpatialIndex, vectors: F32) -> Bits:
    high, low, k_sub = _halves_of(index)
    half = index.dim // 2
    cells = _best_rows(vectors[:, :half], high) * k_sub + _best_rows(vectors[:, half:], low)  # 0004-R12
    return _number_bits(index, cells)


def _probe_imi_cosine(index: SpatialIndex, query: F32, nprobe: int) -> Bits:
    high, low, _ = _halves_of(index)
    half = index.dim // 2
    unit = unit_rows(query[None, :])[0]
    products = (high @ unit[:half])[:, None] + (low @ unit[half:])[None, :]
    return _number_bits(index, smallest(-products.reshape(1, -1), nprobe)[0])  # 0004-R13


def _best_rows(vectors: F32, centroids: F32) -> I64:
    """Return for each vector the row of the largest dot product, after scaling to length one."""
    best = np.empty(len(vectors), dtype=np.int64)
    for rows in row_blocks(len(vectors), 4 * vectors.shape[1]):
        best[rows], _ = nearest_centroids(unit_rows(vectors[rows]), centroids)
    return best


def _number_bits(index: SpatialIndex, cells: I64) -> Bits:
    return number_bits(cells.view(np.uint64), index.bits)


@dataclass(frozen=True, slots=True)
class Partitioner:
    """One algorithm. assign: vectors (n, dim) -> keys (n, bits); probe: query (dim,), nprobe -> keys."""

    assign: Callable[[SpatialIndex, F32], Bits]
    probe: Callable[[SpatialIndex, F32, int], Bits]


_PARTITIONERS: Final[dict[str, Any]] = {
    LSH_COSINE: Partitioner(_assign_lsh_cosine, _probe_lsh_cosine),
    LSH_L2: Partitioner(_assign_lsh_l2, _probe_lsh_l2),
    IVF_COSINE: Partitioner(_assign_ivf_cosine, _probe_ivf_cosine),
    IMI_COSINE: Partitioner(_assign_imi_cosine, _probe_imi_cosine),
}
