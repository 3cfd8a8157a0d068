"""Write the fixture `arrays` with the reference SDK: a Space of typed arrays, and what was put into it.

    python conformance/spaces/make_arrays.py [target directory]

Nonces and times are random, so the archive differs each time; the rows do not.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import cbor2
import dreamdb
import numpy as np

TARGET = Path(__file__).parent / "reference-0.0.16"
T0 = 1_700_000_000_000_000_000
DTYPES = {
    "f32": "f4",
    "f64": "f8",
    "i8": "i1",
    "i16": "i2",
    "i32": "i4",
    "i64": "i8",
    "u8": "u1",
    "u16": "u2",
    "u32": "u4",
    "u64": "u8",
}
ROWS = 10
ABOUT = (
    "typed arrays: every dtype as a single number, a dense 2 x 3 array (layouts c and f, codecs raw and npy, both byte "
    "orders), ragged and sparse; no numbers at all; time batches; missing values; constants; a "
    "field added later; a deleted row. Values are nested lists; ragged ones lists of rows; sparse ones the three parts."
)


def declare() -> dreamdb.Schema:
    """Return a schema with every family, dtype, byte order, layout and codec."""
    schema = dreamdb.Schema().add_scalar_int("n")
    for nth, dtype in enumerate(DTYPES):
        order = ("little", "big")[nth % 2]
        layout, codec = "cf"[nth // 2 % 2], ("raw", "npy")[nth // 4 % 2]
        schema.add_array(f"one_{dtype}", dtype, [], endianness=order, required=False)
        schema.add_array(
            f"dense_{dtype}", dtype, [2, 3], endianness=order, layout=layout, codec=codec, required=False
        )
        schema.add_ragged_array(f"ragged_{dtype}", dtype, [2] * (nth % 3), endianness=order, required=False)
        schema.add_sparse_csr(f"sparse_{dtype}", dtype, [3, 4], endianness=order, required=False)
    schema.add_array("empty", "f32", [2, 0], required=False)
    batches = {"track_kind": "continuous", "object_kind": "time-batch"}
    schema.add_array("batch", "u16", [4], required=False, **batches)
    schema.add_ragged_array("ragged_batch", "f64", [3], required=False, **batches)
    told = {"semantic_type": "velocity", "units": "m/s", "frame": "world", "axis_order": "xyz"}
    return schema.add_array("told", "f32", [3], required=False, **told)


def numbers(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return numbers over the whole range of a dtype; of floats also zeros, the largest and the smallest."""
    kind = np.dtype(DTYPES[dtype])
    if kind.kind != "f":
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    found = rng.standard_normal(shape).astype(kind)
    special = np.array([0.0, -0.0, np.finfo(kind).smallest_subnormal, np.finfo(kind).max], kind)
    return np.where(rng.random(shape) < 0.3, rng.choice(special, shape), found).astype(kind)


def ragged(rng: np.random.Generator, dtype: str, inner: tuple[int, ...]) -> tuple[Any, Any]:
    """Return rows as the SDK takes them, and as nested lists."""
    lengths = rng.integers(0, 4, rng.integers(0, 4))
    offsets = np.r_[0, np.cumsum(lengths)].astype(np.uint64)
    values = numbers(rng, dtype, (int(lengths.sum()), *inner))
    lists = [
        values[a:b].tolist() for a, b in zip(offsets[:-1].astype(int), offsets[1:].astype(int), strict=True)
    ]
    return {"row_offsets": offsets, "values": values}, lists


def sparse(rng: np.random.Generator, dtype: str) -> tuple[Any, Any]:
    """Return a 3 x 4 matrix as the SDK takes it, and as lists."""
    rows = [sorted(rng.choice(4, rng.integers(0, 4), replace=False).tolist()) for _ in range(3)]
    offsets = np.r_[0, np.cumsum([len(row) for row in rows])].astype(np.uint64)
    parts = {
        "row_offsets": offsets,
        "column_indices": np.array([column for row in rows for column in row], np.uint64),
        "values": numbers(rng, dtype, (int(offsets[-1]),)),
    }
    return parts, {name: part.tolist() for name, part in parts.items()}


def sample(nth: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a row as the SDK takes it, and as the fixture notes it; every third value is missing."""
    rng = np.random.default_rng(nth)
    given: dict[str, Any] = {"n": nth}
    for at, dtype in enumerate(DTYPES):
        given[f"one_{dtype}"] = numbers(rng, dtype, ())
        given[f"dense_{dtype}"] = numbers(rng, dtype, (2, 3))
        given[f"ragged_{dtype}"] = ragged(rng, dtype, (2,) * (at % 3))
        given[f"sparse_{dtype}"] = sparse(rng, dtype)
    given["empty"] = np.empty((2, 0), np.float32)
    given["batch"] = numbers(rng, "u16", (4,))
    given["ragged_batch"] = ragged(rng, "f64", (3,))
    given["told"] = np.array([1, 2, 3], np.float32)  # equal bytes at every anchor
    held = {k: v for at, (k, v) in enumerate(given.items()) if k == "n" or (at + nth) % 3}
    written = {k: v[0] if isinstance(v, tuple) else v for k, v in held.items()}
    noted = {k: v[1] if isinstance(v, tuple) else v.tolist() if k != "n" else v for k, v in held.items()}
    return {"_anchor": T0 + nth * 1000, **written}, noted


def write(root: Path) -> dict[str, Any]:
    """Write the Space; return what each Ref must show."""
    backend = f"file://{root}"
    dataset = dreamdb.Dataset.create("main", declare(), backend=backend)
    samples = [sample(nth) for nth in range(ROWS)]
    for half in (samples[: ROWS // 2], samples[ROWS // 2 :]):
        dataset.append_many([row for row, _ in half])
    rows = {str(T0 + nth * 1000): noted for nth, (_, noted) in enumerate(samples)}
    dataset.snapshot("plain")
    plain = facts(root, "main@plain", dict(rows))
    dataset.add_array("late", "i32", [2], endianness="big")
    dataset.append_many([{"_anchor": T0 - 5, "n": -1, "late": [1, -2]}])
    rows[str(T0 - 5)] = {"n": -1, "late": [1, -2]}
    constants = add_constants(dataset)
    dataset.delete([T0 + 3000])
    rows.pop(str(T0 + 3000))
    tip = facts(root, "main", rows) | {"constants": constants, "tombstones": [T0 + 3000]}
    return {"main": tip, "main@plain": plain}


def add_constants(dataset: dreamdb.Dataset) -> dict[str, Any]:
    """Give the dataset a constant of each family; return them as `constants` notes them."""
    matrix = [[1.5, -2.0], [0.0, 3.25], [4.0, 5.0]]
    dataset.add_array_constant("pose", matrix, dtype="f64", shape=[3, 2], layout="f", endianness="big")
    dataset.add_array_constant("table", [[1, 2], [3, 4]], dtype="u8", shape=[2, 2], codec="npy")
    rows = {"row_offsets": [0, 2, 2, 3], "values": [7, 8, 9]}
    dataset.add_array_constant(
        "rows", rows, dtype="u32", shape=[], family="ragged-array", codec="offsets-values"
    )
    parts = {"row_offsets": [0, 1, 1], "column_indices": [2], "values": [-7]}
    dataset.add_array_constant("grid", parts, dtype="i8", shape=[2, 3], family="sparse-csr")
    values = {"pose": matrix, "table": [[1, 2], [3, 4]], "rows": [[7, 8], [], [9]], "grid": parts}
    return {name: {"value": value} for name, value in values.items()}


def facts(root: Path, ref: str, rows: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of one Ref, after the SDK has agreed on the number of rows."""
    opened = dreamdb.Dataset.open_ref(ref, f"file://{root}")
    assert opened.count() == len(rows), (ref, opened.count(), len(rows))
    manifest = opened.current_manifest()
    registry = cbor2.loads((root / "manifests" / manifest).read_bytes())["registry"]
    return {
        "manifest": manifest,
        "count": len(rows),
        "schema": registry["dreamdb.schema"]["fields"],
        "tombstones": [],
        "rows": rows,
    }


def main(target: Path) -> None:
    """Write archive and expectations."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "store"
        root.mkdir()
        refs = write(root)
        with tarfile.open(target / "arrays.tar.gz", "w:gz") as archive:
            archive.add(root, arcname="store")
    told = {
        "fixture": "arrays",
        "about": ABOUT,
        "written_by": "dreamdb 0.0.16 (Python SDK, file:// backend)",
        "root_in_archive": "store/",
        "value_notation": "absent key = missing value; arrays are lists",
        "refs": refs,
    }
    (target / "arrays.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
