"""Graphs: built by the reference, by FAISS (HNSW) and by us, and walked the same way. ADR 0021.

OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.kernels.graph --rows 20000

Seconds are of the processor: beside others, a clock on the wall says little. The reference's graph takes a minute.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vectors import Corpus, K, corpora, exact, recall
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.vamana import NOBODY, Graph, walk
from dreamdb_arrow.kernels.vamana_build import build_graph, insert_rows
from dreamdb_arrow.objects.graph_index import decode_graph_index
from dreamdb_arrow.objects.graph_page import GRAPH_MAGIC, decode_graph_page

DEGREE, WIDTH, NEAR, ALPHA = 32, 100, 50, 1.2


def main() -> None:
    """Print a line for each corpus and builder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--no-reference", action="store_true")
    args = parser.parse_args()
    print(
        "| vectors | built by | CPU, s | edges a row | recall, one row at a time | ours | one query, ms | of many, ms |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for corpus in [*corpora(args.rows, 500), *made(args.rows)]:
        makers = {"ours": ours, "ours, 5% added": ours_grown, "FAISS HNSW": faiss_graph}
        for who, make in (makers if args.no_reference else {"reference": reference_graph, **makers}).items():
            report(corpus, who, make)


def made(rows: int) -> list[Corpus]:
    """Return what is hard: numbers without any order, and close groups that lie far apart."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, 64))
    plain = rng.standard_normal((rows + 500, 64))
    close = centres[rng.integers(0, 20, rows + 500)] + 0.3 * rng.standard_normal((rows + 500, 64))
    return [_corpus(name, unit_rows(v.astype("f4"))) for name, v in (("normal", plain), ("20 groups", close))]


def _corpus(name: str, unit: np.ndarray) -> Corpus:
    return Corpus(name, unit[:-500], unit[-500:], np.zeros(len(unit) - 500, np.int64))


def report(corpus: Corpus, who: str, make: Callable[[np.ndarray], Graph]) -> None:
    """Build, walk, and print."""
    seconds, graph = timed(lambda: make(corpus.vectors))
    true, queries = exact(corpus), corpus.queries
    plain = np.array([plain_walk(graph, q) for q in queries[:100]])
    single, found = timed(lambda: np.concatenate([walk(graph, q[None], WIDTH)[0] for q in queries]))
    many, _ = timed(lambda: walk(graph, queries, WIDTH))
    print(
        f"| {corpus.name} {len(corpus.vectors):,} | {who} | {seconds:.1f} | {(graph.neighbours >= 0).sum(1).mean():.1f} "
        f"| {recall(plain, true[:100]):.3f} | {recall(found[:, :K], true):.3f} "
        f"| {1000 * single / len(queries):.2f} | {1000 * many / len(queries):.2f} |",
        flush=True,
    )


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of the processor that a call takes, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def plain_walk(graph: Graph, query: np.ndarray) -> list[int]:
    """Return the nearest rows that a walk meets which follows one row at a time, as the reference's does."""
    best, followed, seen = [(-float(graph.vectors[graph.entry] @ query), graph.entry)], set(), {graph.entry}
    while (ahead := next((row for _, row in best if row not in followed), None)) is not None:
        followed.add(ahead)
        near = [row for row in graph.neighbours[ahead].tolist() if row != NOBODY and row not in seen]
        seen.update(near)
        scored = zip((-(graph.vectors[near] @ query)).tolist(), near, strict=True)
        best = sorted([*best, *scored])[:WIDTH]
    return [row for _, row in best[:K]]


def ours(vectors: np.ndarray) -> Graph:
    """Build as `build_graph_index` does."""
    return build_graph(vectors, DEGREE, alpha=ALPHA, near=NEAR, seed=0)


def ours_grown(vectors: np.ndarray) -> Graph:
    """Build all but the last rows, and add these; the first part is not counted again."""
    share = len(vectors) // 20
    return insert_rows(ours(vectors[:-share]), vectors[-share:], alpha=ALPHA, width=WIDTH)[0]


def faiss_graph(vectors: np.ndarray) -> Graph:
    """Build FAISS's HNSW, and take its lowest layer."""
    faiss = import_module("faiss")
    index = faiss.IndexHNSWFlat(vectors.shape[1], DEGREE // 2, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = WIDTH
    index.add(vectors)
    offsets = faiss.vector_to_array(index.hnsw.offsets).astype(np.int64)
    ids = faiss.vector_to_array(index.hnsw.neighbors)
    lowest = ids[offsets[:-1, None] + np.arange(DEGREE)].astype(np.int32)
    return Graph(vectors, None, lowest, int(index.hnsw.entry_point))


def reference_graph(vectors: np.ndarray) -> Graph:
    """Have the reference SDK build a graph, and read its pages."""
    dreamdb = import_module("dreamdb")
    with tempfile.TemporaryDirectory() as folder:
        modality = f"embedding.f32.dim={vectors.shape[1]}.graph.r={DEGREE}.field=g"
        dreamdb.train_and_publish_vamana_graph(
            f"file://{folder}", vectors, vectors.shape[1], modality=modality, r=DEGREE
        )
        neighbours = np.full((len(vectors), DEGREE), NOBODY, np.int32)
        for file in Path(folder).rglob("d*"):
            data = file.read_bytes() if file.is_file() else b""
            if file.parent.name == "graph-index":
                entry = decode_graph_index(data).layout.entry_point
            elif data.startswith(GRAPH_MAGIC):
                page = decode_graph_page(data)
                rows = page.first_node + np.repeat(np.arange(len(page.degrees)), page.degrees)
                places = np.concatenate([np.arange(d) for d in page.degrees])
                neighbours[rows, places] = page.neighbours
        return Graph(vectors, None, neighbours, entry)


if __name__ == "__main__":
    main()
