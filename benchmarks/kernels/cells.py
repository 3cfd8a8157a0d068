"""Cells: one query and a thousand over rows sorted by cell, beside FAISS IVF-Flat with the same cells. ADR 0024.

python -m benchmarks.kernels.cells            # GloVe if its package is installed, and a mixture
"""

from __future__ import annotations

import argparse
from importlib import import_module

import numpy as np

from benchmarks.measure import alternate, median
from benchmarks.vectors import Corpus, K, corpora, exact, recall
from dreamdb_arrow.spatial.scan import Found, Segment, cell_runs, scan_cells

ROUNDS, WANTED = 200, 0.952
EFFORTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192)


def main() -> None:
    """Print a line for each corpus and number of cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=399_000)
    args = parser.parse_args()
    print("| corpus | cells | read | recall | ours, ms | FAISS, ms | ours, q/s | FAISS, q/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for corpus in corpora(args.rows, 1000):
        for factor in (1, 2, 4):
            compare(corpus, int(factor * len(corpus.vectors) ** 0.5))


def compare(corpus: Corpus, cells: int) -> None:
    """Train by FAISS, search by both."""
    faiss = import_module("faiss")
    index = faiss.index_factory(corpus.vectors.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(corpus.vectors)
    index.add(corpus.vectors)
    centroids, segment = index.quantizer.reconstruct_n(0, cells), by_cell(index, corpus, cells)
    true, runs = exact(corpus), cell_runs([segment])

    def ours(queries: np.ndarray, effort: int) -> Found:
        products = queries @ centroids.T
        best = np.argpartition(-products, effort - 1, axis=1)[:, :effort]
        order = np.argsort(-np.take_along_axis(products, best, 1), axis=1)
        wanted = np.take_along_axis(best, order, 1)
        return scan_cells([segment], [None], runs, wanted, queries, K, "cosine")

    effort = next(
        e for e in EFFORTS if recall(ours(corpus.queries, e).anchors, true) >= WANTED or e == EFFORTS[-1]
    )
    parameters, queries = faiss.SearchParametersIVF(nprobe=effort), corpus.queries
    single = alternate(
        {
            "ours": lambda: ours(queries[:1], effort),
            "faiss": lambda: index.search(queries[:1], K, params=parameters),
        },
        ROUNDS,
    )
    batch = alternate(
        {"ours": lambda: ours(queries, effort), "faiss": lambda: index.search(queries, K, params=parameters)},
        5,
    )
    found = recall(ours(queries, effort).anchors, true)
    ones = [f"{median(single[who]):.3f}" for who in ("ours", "faiss")]
    many = [f"{len(queries) / median(batch[who]) * 1e3:,.0f}" for who in ("ours", "faiss")]
    print(f"| {corpus.name} | {cells:,} | {effort} | {found:.3f} | {' | '.join(ones + many)} |", flush=True)


def by_cell(index: object, corpus: Corpus, cells: int) -> Segment:
    """Return the rows in the order of the cells that FAISS gives them."""
    assigned = index.quantizer.search(corpus.vectors, 1)[1][:, 0]
    rows = np.argsort(assigned, kind="stable")
    width = max(1, (cells - 1).bit_length())
    return Segment(
        keys=np.array([f"{cell:0{width}b}" for cell in range(cells)], "S"),
        starts=np.searchsorted(assigned[rows], np.arange(cells + 1)).astype(np.int64),
        anchors=rows.astype(np.int64),
        vectors=np.ascontiguousarray(corpus.vectors[rows]),
        inverse=None,
        order=np.argsort(rows).astype(np.int64),
        ordered=np.arange(len(rows), dtype=np.int64),
    )


if __name__ == "__main__":
    main()
