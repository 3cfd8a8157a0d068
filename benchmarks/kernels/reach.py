"""Which cells a query should read: as many for each, or those within reach of its best ones (`Prober.within`). ADR 0024.

python -m benchmarks.kernels.reach                       # GloVe if its package is installed, and a mixture
python -m benchmarks.kernels.reach --vectors w.npy       # and vectors float32 (n, d) of a file

For each rule the least number of cells, or reach, that finds the share, and how many rows are compared then.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.kernels.codes import corpus_of
from benchmarks.vectors import Corpus, corpora, exact
from dreamdb_arrow.kernels.kmeans import nearest_centroids, spherical_kmeans

SHARES = (0.9, 0.95, 0.99)
WEIGHTS = ((1, 0), (0, 1), (0.4, 0.75), (0.5, 0.75), (0.6, 0.75), (0.5, 0.5), (0.7, 0.6))
TRAINED = 128  # rows a cell
STEPS = 40


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=399_000)
    parser.add_argument("--vectors", type=Path)
    args = parser.parse_args()
    found = corpora(args.rows, 500)
    if args.vectors is not None:
        found.append(corpus_of(args.vectors, args.rows, 500))
    print("| corpus | share | rule | rows, median | rows, mean |\n| --- | ---: | --- | ---: | ---: |")
    for corpus in found:
        compare(corpus)


def compare(corpus: Corpus) -> None:
    """Print what each rule takes."""
    cells = int(4 * len(corpus.vectors) ** 0.5)
    centroids = spherical_kmeans(corpus.vectors[: TRAINED * cells], cells, seed=0)
    assigned, _ = nearest_centroids(corpus.vectors, centroids)
    products = corpus.queries @ centroids.T
    held = np.take_along_axis(products, assigned[exact(corpus)], axis=1)  # of the cells with the nearest rows
    order = np.argsort(-products, axis=1)
    best, rows = (
        np.take_along_axis(products, order, 1),
        np.cumsum(np.bincount(assigned, minlength=cells)[order], axis=1),
    )

    def by_count(counts: np.ndarray) -> tuple[float, np.ndarray]:
        each = np.arange(len(counts))
        return float((held >= best[each, counts - 1][:, None]).mean()), rows[each, counts - 1]

    rules: dict[str, Callable[[float], np.ndarray]] = {
        "as many for each": lambda reach: np.full(len(best), max(1, int(cells * reach / 2)))
    }
    for of_best, of_tenth in WEIGHTS:
        near = of_best * best[:, :1] + of_tenth * best[:, 9:10]
        rules[f"{of_best} of the best, {of_tenth} of the tenth"] = lambda reach, near=near: np.maximum(
            1, (best >= near - reach).sum(axis=1)
        )
    for share in SHARES:
        for name, rule in rules.items():
            taken = by_count(
                rule(least(lambda reach, rule=rule, share=share: by_count(rule(reach))[0] >= share))
            )[1]
            figures = f"{np.median(taken):,.0f} | {taken.mean():,.0f}"
            print(f"| {corpus.name} | {share} | {name} | {figures} |", flush=True)


def least(enough: Callable[[float], bool]) -> float:
    """Return the least number between -2 and 2 that is enough."""
    low, high = -2.0, 2.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


if __name__ == "__main__":
    main()
