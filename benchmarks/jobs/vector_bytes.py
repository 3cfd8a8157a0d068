"""Bytes of vectors: what a Space of one embedding field takes in its store, beside the vectors themselves, verb by verb.

With raw cells, and with RaBitQ codes of 4 bits and of 1 and the exact vectors beside them. The cells are as many as there
are by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dreamdb_arrow as vd
from benchmarks.measure import Figure, fresh
from benchmarks.sizes import Setup
from benchmarks.vectors import Corpus, corpora

JOB: Final = "vector_bytes"
RAW: Final = "raw cells"
CODES: Final = {"4 bits and exact vectors": 4, "1 bit and exact vectors": 1}
LAST: Final = "gc"
APPENDS: Final = 10
MIXTURE_ROWS: Final = 100_000


def run(setup: Setup) -> Iterator[Figure]:
    """Yield bytes by raw bytes after each verb, and then by what they are of."""
    for corpus in corpora(setup.sizes.search_rows, setup.sizes.search_queries):
        held = corpus if corpus.name == "GloVe" else corpus.head(MIXTURE_ROWS)
        for form in (RAW, *CODES):
            setup.say(f"{JOB}: {held.name}: {form}")
            yield from _figures(held, form, fresh(setup.work / JOB / held.name))


def _figures(corpus: Corpus, form: str, space: Path) -> Iterator[Figure]:
    raw, (rows, dim) = corpus.vectors.nbytes, corpus.vectors.shape
    dataset = _created(corpus, form, space)
    step = -(-rows // APPENDS)

    def gc() -> None:
        vd.gc(str(space), keep_manifests=0, dry_run=False, writers_paused=True)

    def append() -> None:
        for start in range(0, rows, step):
            dataset.append(corpus.table(start, start + step).select(["_anchor", "v"]))

    for verb, act in (("append", append), ("flush", dataset.flush), ("compact", dataset.compact), (LAST, gc)):
        act()
        name = f"{corpus.name}: bytes after {verb}"
        yield Figure(JOB, name, form, _size(space) / raw, "x", f"{rows:,} x {dim}")
    outboards = _size(space / "bao-outboard") / raw
    yield Figure(JOB, f"{corpus.name}: of these, outboards", form, outboards, "x")


def _created(corpus: Corpus, form: str, space: Path) -> vd.Dataset:
    url, dim = str(space), corpus.vectors.shape[1]
    index = vd.train_and_publish_ivf_centroids(url, corpus.vectors, dim)
    coder = vd.publish_rabitq_compressor(url, dim, bits_per_dim=CODES[form]) if form in CODES else None
    schema = vd.Schema().add_embedding(
        "v",
        dim=dim,
        algorithm="dreamdb.ivf-cosine",
        spatial_index=index,
        compressor=coder,
        rerank=coder is not None,
    )
    return vd.Dataset.create("bench", schema, url, cache_dir=None, durability="os")


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
