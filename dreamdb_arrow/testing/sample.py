"""A small Space that has every kind of object that we write, for tests that damage, move or collect objects."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.publish import publish_rabitq_compressor, train_and_publish_ivf_centroids
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.dataset.space import Backend

REF: Final = "main"
DIM: Final = 4
T0: Final = 1_700_000_000_000_000_000
_ROWS: Final = 150  # of a batch: enough values and cells for more than one page


def write_sample(backend: Backend, rows: int = _ROWS, **options: Any) -> Dataset:
    """Write the Space to an empty place, and return its dataset `main`, which is at its newest version.

    It has scalars of all types, media as they are, packed and in chunks, arrays of each family, embeddings in hashed cells, in
    trained ones with codes, and in a graph; rows that are flushed and rows that are not, deleted rows, a snapshot, and a branch
    that was merged. `options` are those of `Dataset.create`.
    """
    made = {"cache_dir": None, "durability": "os", **options}
    ds = Dataset.create(REF, _schema(backend), backend, **made)
    ds.append(sample_rows(0, rows))
    ds.flush()
    ds.snapshot("first")
    side = ds.branch("side")
    side.append(sample_rows(rows, rows))
    side.flush()
    side.delete([T0 + rows + 1])
    ds.append(sample_rows(2 * rows, rows))
    ds.flush()
    ds.delete([T0 + 1, T0 + 2], reason="a test")
    ds.merge("side", "union-tracks")
    ds.build_graph_index("g", "v", DIM, [(T0 + i, vector) for i, vector in enumerate(_vectors(0, 40))], r=8)
    ds.append(sample_rows(3 * rows, rows))
    return ds


def sample_rows(start: int, count: int) -> pa.Table:
    """Return rows of the sample's schema, at the anchors T0 + start and on."""
    ids = np.arange(start, start + count)
    sparse = {"row_offsets": [0, 1, 1, 2], "column_indices": [0, 3], "values": [1.0, 2.0]}
    return pa.table(
        {
            "_anchor": ids + T0,
            "n": ids * 7,
            "x": ids / 3,
            "s": [f"text {i}" for i in ids],
            "c": [("red", "green", "blue")[i % 3] for i in ids],
            "ok": ids % 2 == 0,
            "at": pa.array(ids * 1_000, pa.timestamp("ns")),
            "img": pa.array([b"\x89PNG" + b"%d " % i * 9 for i in ids], pa.binary()),
            "snd": pa.array([b"RIFF" + b"%d " % i * 9 for i in ids], pa.binary()),
            "a": pa.array([[[float(i)] * 3, [1.0, 2.0, 3.0]] for i in ids]),
            "b": pa.array([[float(i)] * 3 for i in ids]),
            "r": pa.array([[[[float(i)] * 3] * (i % 3), []] for i in ids]),
            "m": pa.array([sparse] * count),
            "v": _fixed(start, count),
            "w": _fixed(start + 7, count),
        }
    )


def _schema(backend: Backend) -> Schema:
    index = train_and_publish_ivf_centroids(backend, _vectors(0, 300), DIM, 8)
    return (
        Schema()
        .add_scalar_int("n")
        .add_scalar_float("x")
        .add_scalar_string("s")
        .add_scalar_categorical("c")
        .add_scalar_bool("ok")
        .add_scalar_timestamp("at")
        .add_image("img", mime="png")
        .add_audio("snd", mime="wav", chunk_size=16)
        .add_array("a", "f32", (2, 3))
        .add_array("b", "f32", (3,), codec="npy")
        .add_ragged_array("r", "f32", (3,))
        .add_sparse_csr("m", "f32", (3, 4))
        .add_embedding("v", dim=DIM, lsh_bits=20, rerank=True)
        .add_embedding(
            "w",
            dim=DIM,
            algorithm="dreamdb.ivf-cosine",
            spatial_index=index,
            compressor=publish_rabitq_compressor(backend, DIM, bits_per_dim=4),
            rerank=True,
        )
    )


def _vectors(start: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(start).standard_normal((count, DIM)).astype(np.float32)


def _fixed(start: int, count: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(_vectors(start, count).reshape(-1)), DIM)
