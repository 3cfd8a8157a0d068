"""Codes: kernels that score them, and scans with rerank beside FAISS IVF-RaBitQ with refine. ADR 0023.

python -m benchmarks.kernels.codes                       # GloVe if its package is installed, and a mixture
python -m benchmarks.kernels.codes --vectors w.npy       # and vectors float32 (n, d) of a file

Both have the same cells. Each takes the cheapest of some efforts (cells, pool) that reaches the recall, and then both take
turns. Next to the time stands that of the processor, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.vectors import Corpus, K, corpora, exact, recall
from dreamdb_arrow.kernels.codes import expand_codes, shared_table
from dreamdb_arrow.kernels.tiles import TILE, all_products, products_by_tile, products_of_one
from dreamdb_arrow.kernels.topk import smallest
from dreamdb_arrow.objects.vector_compressor import VectorCompressor, make_rabitq
from dreamdb_arrow.spatial.code_field import prepare_codes
from dreamdb_arrow.spatial.compressors import encode_vectors
from dreamdb_arrow.spatial.pool import scan_pool
from dreamdb_arrow.spatial.scan import CellRuns, Segment, cell_runs

WANTED = 0.95
READ = (96, 112, 128, 144, 160, 192)
POOLS = (40, 100, 150, 200, 400, 800, 1200, 1600)
ID_BYTES = 8
Calls = Mapping[str, Callable[[], object]]


def main() -> None:
    """Print a table of kernels and one of searches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=399_000)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--only", help="one of the corpora")
    args = parser.parse_args()
    print(
        "| kernel, processor's microseconds | 50 numbers, 2 bits | 256 numbers, 1 bit |\n| --- | ---: | ---: |"
    )
    for name, figures in kernels().items():
        print(f"| {name} | {' | '.join(f'{figure:,.0f}' for figure in figures)} |")
    found = corpora(args.rows, 1000)
    if args.vectors is not None:
        found.append(corpus_of(args.vectors, args.rows))
    print("\n| corpus | queries | who | bytes a row | cells, pool | recall | ms | processor, ms |")
    print("| --- | ---: | --- | ---: | --- | ---: | ---: | ---: |")
    for corpus in found:
        if args.only in {None, corpus.name}:
            compare(corpus)


def corpus_of(path: Path, rows: int, queries: int = 1000) -> Corpus:
    """Return the vectors of a file, some of them as queries."""
    vectors = np.load(path).astype("f4")
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    order = np.random.default_rng(5).permutation(len(vectors))
    held = np.ascontiguousarray(vectors[order[queries : queries + rows]])
    return Corpus(path.stem, held, vectors[order[:queries]], np.zeros(len(held), np.int64))


# --- kernels ------------------------------------------------------------------------------------------------


def kernels() -> dict[str, list[float]]:
    """Return the microseconds of each kernel: 15,000 codes and a query, or a cell of 158 and 48 queries."""
    figures: dict[str, list[float]] = {}
    for width, held in ((4, 13), (8, 32)):
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 256, (15_000, held), dtype=np.uint8)
        numbers = rng.standard_normal((256, width)).astype("f4")
        scores = rng.standard_normal((held, 256)).astype("f4")
        queries = rng.standard_normal((3 * TILE, held * width)).astype("f4")
        for name, call in ways(codes, numbers, scores, queries).items():
            figures.setdefault(name, []).append(processor(call))
    return figures


def ways(codes: np.ndarray, numbers: np.ndarray, scores: np.ndarray, queries: np.ndarray) -> Calls:
    """Return the calls by name; those of libraries that are not installed are left out."""
    table, cell = shared_table(numbers), codes[:158]
    pieces = [codes[at : at + 1024] for at in range(0, len(codes), 1024)]
    expanded = expand_codes(table, cell)
    words = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    words[:, : codes.shape[1]] = codes
    planes = np.random.default_rng(1).integers(0, 256, (8, words.shape[1]), dtype=np.uint8).view(np.uint64)
    calls: dict[str, Callable[[], object]] = {
        "one query: bytes to numbers, product": lambda: [
            products_of_one(expand_codes(table, p), queries[0]) for p in pieces
        ],
        "one query: a table of scores for each byte": lambda: sum(
            row.take(column) for row, column in zip(scores, codes.T, strict=True)
        ),
        "one query in 8 bits: counts of bits": lambda: counted(words.view(np.uint64), planes),
        "cell: bytes to numbers, product": lambda: products_by_tile(
            expand_codes(table, cell)[None], queries[None]
        ),
        "cell: bits to numbers by unpackbits, no product": lambda: np.unpackbits(cell, axis=1).astype("f4"),
        "cell: product only": lambda: products_by_tile(expanded[None], queries[None]),
    }
    if find_spec("numba") is not None:
        added = import_module("numba").njit(fastmath=True, nogil=True)(added_up)
        calls["one query: a table of scores for each byte, Numba"] = lambda: added(codes, scores)
    if find_spec("numkong") is not None:
        kong = import_module("numkong")
        packed, small = kong.dots_pack(expanded), (queries * 20).astype("i1")
        packed_small = kong.dots_pack((expanded * 20).astype("i1"), dtype="int8")
        calls["cell: product only, NumKong"] = lambda: kong.dots_packed(queries, packed)
        calls["cell: product of int8 only, NumKong"] = lambda: kong.dots_packed(small, packed_small)
    return calls


def counted(words: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return the dot products of bits and a query of 8 bits, whose planes of bits are given."""
    total = np.zeros(len(words), np.uint32)
    for place, plane in enumerate(planes):
        for word, of_plane in zip(words.T, plane, strict=True):
            total += np.bitwise_count(word & of_plane).astype(np.uint32) << place
    return total


def added_up(codes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the sum of the scores of the bytes of each code; for Numba."""
    sums = np.empty(len(codes), np.float32)
    for row in range(len(codes)):
        total = np.float32(0)
        for place in range(codes.shape[1]):
            total += scores[place, codes[row, place]]
        sums[row] = total
    return sums


def processor(call: Callable[[], object], rounds: int = 20) -> float:
    """Return the processor's microseconds of a call, the least of some."""
    call()
    times = []
    for _ in range(7):
        start = time.process_time()
        for _ in range(rounds):
            call()
        times.append((time.process_time() - start) / rounds)
    return min(times) * 1e6


# --- searches -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """Codes by cell."""

    centroids: np.ndarray
    segment: Segment
    runs: CellRuns
    compressor: VectorCompressor
    prepared: Mapping[str, np.ndarray]

    @property
    def row_bytes(self) -> float:
        """What lies beside the vectors, and the anchor."""
        derived = sum(array.nbytes for array in self.prepared.values()) / len(self.segment)
        return self.compressor.code_bytes + derived + ID_BYTES

    def search(self, queries: np.ndarray, read: int, pool: int) -> np.ndarray:
        """Return the rows of the corpus that are found, int64 (q, k)."""
        wanted = smallest(-all_products(queries, self.centroids), read)
        how = [self.segment], [self.prepared], self.compressor, [None], self.runs
        return scan_pool(*how, wanted, queries, K, pool).anchors


def ours_of(corpus: Corpus, centroids: np.ndarray, compressor: VectorCompressor) -> Ours:
    """Lay out the rows by cell."""
    blocks = (corpus.vectors[at : at + 8192] for at in range(0, len(corpus.vectors), 8192))
    assigned = np.concatenate([np.argmax(block @ centroids.T, axis=1) for block in blocks])
    order = np.argsort(assigned, kind="stable")
    vectors = np.ascontiguousarray(corpus.vectors[order])
    codes = encode_vectors(compressor, vectors)
    keys = np.array([f"{cell:020b}" for cell in range(len(centroids))], "S")
    starts = np.searchsorted(assigned[order], np.arange(len(centroids) + 1))
    segment = Segment(keys, starts, order, vectors, None, np.argsort(order), np.arange(len(order)), codes)
    return Ours(centroids, segment, cell_runs([segment]), compressor, prepare_codes(compressor, codes))


def compare(corpus: Corpus) -> None:
    """Search by both."""
    faiss, dim = import_module("faiss"), corpus.vectors.shape[1]
    cells, true = int(4 * len(corpus.vectors) ** 0.5), exact(corpus)
    index = faiss.index_factory(dim, f"IVF{cells},RaBitQ,Refine(Flat)", faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.vectors)
    index.add(corpus.vectors)
    base = faiss.downcast_index(index.base_index)
    # as many bits as fit into the bytes of a row of FAISS
    compressor = (
        make_rabitq(dim, 2)
        if -(-2 * dim // 8) + 2 <= base.code_size
        else make_rabitq(dim, 1, with_correction_factors=True)
    )
    ours = ours_of(corpus, base.quantizer.reconstruct_n(0, cells), compressor)

    def theirs(queries: np.ndarray, read: int, pool: int) -> np.ndarray:
        inner = faiss.IVFRaBitQSearchParameters()
        inner.nprobe, inner.qb = read, 8
        outer = faiss.IndexRefineSearchParameters(k_factor=pool / K, base_index_params=inner)
        found: np.ndarray = index.search(queries, K, params=outer)[1]
        return found

    searches = {"ours": ours.search, "FAISS": theirs}
    chosen = {who: cheapest(search, corpus.queries, true) for who, search in searches.items()}
    sizes = {"ours": ours.row_bytes, "FAISS": base.code_size + ID_BYTES}
    for count, rounds in ((1, 200), (len(corpus.queries), 7)):
        asked = corpus.queries[:count]
        calls = {who: partial(search, asked, *chosen[who]) for who, search in searches.items()}
        times = take_turns(calls, rounds)
        for who, search in searches.items():
            found = recall(search(corpus.queries, *chosen[who]), true)
            passed, worked = (median(column) for column in zip(*times[who], strict=True))
            effort = f"{chosen[who][0]}, {chosen[who][1]}"
            figures = f"{sizes[who]:.0f} | {effort} | {found:.4f} | {passed:,.2f} | {worked:,.2f}"
            print(f"| {corpus.name} | {count:,} | {who} | {figures} |", flush=True)


def cheapest(search: Callable[..., np.ndarray], queries: np.ndarray, true: np.ndarray) -> tuple[int, int]:
    """Return the cells and the pool that reach the recall in the least time of the processor."""
    enough = []
    for read in READ:
        pool = next((p for p in POOLS if recall(search(queries, read, p), true) >= WANTED), None)
        if pool is not None:
            enough.append((processor(lambda r=read, p=pool: search(queries, r, p), 1), read, pool))
    return min(enough)[1:] if enough else (READ[-1], POOLS[-1])


def take_turns(calls: Calls, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the milliseconds of each call, and the processor's, `rounds` of them; the calls take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            passed, worked = time.perf_counter(), time.process_time()
            call()
            times[name].append(((time.perf_counter() - passed) * 1e3, (time.process_time() - worked) * 1e3))
    return times


if __name__ == "__main__":
    main()
