"""Training: k-means of ours beside FAISS and scikit-learn: time, how well centroids fit, what a search then finds. ADR 0020.

python -m benchmarks.kernels.training                                             # with all cores
OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.kernels.training    # seconds of one core, on a busy machine
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from benchmarks.vectors import Corpus, K, corpora, exact
from dreamdb_arrow.kernels.distance import unit_rows
from dreamdb_arrow.kernels.kmeans import ROUNDS, nearest_centroids, spherical_kmeans

PROBES = (24, 48, 96)
ROWS_A_CENTROID = (64, 128, 256)
Train = Callable[[np.ndarray, int], np.ndarray]


def main() -> None:
    """Print a line for each corpus, number of cells and way to train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=399_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[1, 2, 4], help="cells: of the square root of the rows"
    )
    args = parser.parse_args()
    print(
        "| corpus | cells | by | wall, s | CPU, s | mean cosine | largest / mean cell | "
        + " | ".join(f"recall, rows of {probe} cells" for probe in PROBES)
        + " |"
    )
    print("| --- | ---: | --- |" + " ---: |" * (4 + len(PROBES)))
    for corpus in corpora(args.rows, args.queries):
        true = exact(corpus)
        for factor in args.factors:
            cells = round(factor * len(corpus.vectors) ** 0.5)
            for name, train in ways(cells).items():
                report(corpus, true, cells, name, train)


def ways(cells: int) -> dict[str, Train]:
    """Return who trains: the same rounds, and samples of the same size."""
    found: dict[str, Train] = {}
    for rows in ROWS_A_CENTROID:
        found[f"ours, {rows} rows a centroid"] = partial(by_us, rows=rows)
        if find_spec("faiss"):
            found[f"FAISS, {rows}"] = partial(by_faiss, rows=rows)
    if find_spec("sklearn") and cells <= 1000:  # it takes minutes with more
        found["scikit-learn, 64"] = partial(by_sklearn, kind="KMeans", rows=64)
        found["scikit-learn in small batches, 64"] = partial(by_sklearn, kind="MiniBatchKMeans", rows=64)
    return found


def sample_of(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return so many rows, or all."""
    rows = np.random.default_rng(0).choice(len(vectors), min(count, len(vectors)), replace=False)
    return vectors[np.sort(rows)]


def by_us(vectors: np.ndarray, cells: int, rows: int) -> np.ndarray:
    return spherical_kmeans(sample_of(vectors, rows * cells), cells)


def by_faiss(vectors: np.ndarray, cells: int, rows: int) -> np.ndarray:
    faiss = import_module("faiss")
    kmeans = faiss.Kmeans(
        vectors.shape[1], cells, niter=ROUNDS, spherical=True, seed=1, max_points_per_centroid=rows
    )
    kmeans.train(vectors)
    return kmeans.centroids


def by_sklearn(vectors: np.ndarray, cells: int, kind: str, rows: int) -> np.ndarray:
    options = {"batch_size": 8192} if kind == "MiniBatchKMeans" else {}
    make = getattr(import_module("sklearn.cluster"), kind)
    kmeans = make(cells, init="random", n_init=1, max_iter=ROUNDS, random_state=0, **options)
    return unit_rows(kmeans.fit(sample_of(vectors, rows * cells)).cluster_centers_.astype("f4"))


def report(corpus: Corpus, true: np.ndarray, cells: int, name: str, train: Train) -> None:
    """Train once, and print what it took and what it is worth."""
    wall, busy = time.perf_counter(), time.process_time()
    centroids = train(corpus.vectors, cells)
    took = [time.perf_counter() - wall, time.process_time() - busy]
    labels, fits = nearest_centroids(corpus.vectors, centroids)
    sizes = np.bincount(labels, minlength=cells)
    skew = sizes.max() / sizes.mean()
    ranks = np.argsort(np.argsort(-(corpus.queries @ centroids.T), axis=1), axis=1)
    needed = np.take_along_axis(ranks, labels[true], axis=1)
    assert needed.shape == (len(corpus.queries), K)
    found = [f"{(needed < probe).mean():.3f}, {((ranks < probe) @ sizes).mean():,.0f}" for probe in PROBES]
    told = [f"{took[0]:.2f}", f"{took[1]:.2f}", f"{fits.mean():.4f}", f"{skew:.1f}", *found]
    print(f"| {corpus.name} | {cells:,} | {name} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
