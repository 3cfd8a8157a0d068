"""Cases of 0004: SpatialIndex Objects, random words, cells of vectors, probing orders."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from cases.kit import MISSING, SPACES, Case, VectorFile, changed, invalid, reference, smallest, space, valid
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_SEED: Final = bytes(range(32))
_KINDS: Final = {"lsh": "vec-lsh", "lsh-l2": "vec-lsh-l2", "ivf": "vec-ivf", "imi": "vec-imi"}


def floats(*numbers: float) -> bytes:
    """Return numbers as float32 little-endian."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _lsh(**changes: Any) -> bytes:
    params = {"seed": _SEED, "version": 1}
    base = {"dim": 2, "bits": 4, "metric": "cosine", "params": params, "algorithm": "dreamdb.lsh-cosine"}
    return encode_cbor(changed(base, **changes))


def _l2(width: bytes = struct.pack("<d", 1.0), **changes: Any) -> bytes:
    params = {"seed": _SEED, "version": 1, "bucket_width_f64le": width}
    return _lsh(**{"bits": 64, "metric": "l2", "params": params, "algorithm": "dreamdb.lsh-l2", **changes})


def _ivf(k: int, centroids: bytes, bits: int, **changes: Any) -> bytes:
    params = {"k": k, "version": 1, "centroids": centroids}
    return _lsh(**{"bits": bits, "params": params, "algorithm": "dreamdb.ivf-cosine", **changes})


def _imi(k_sub: int, low: bytes, high: bytes, bits: int, **changes: Any) -> bytes:
    params = {"k_sub": k_sub, "version": 1, "centroids_low": low, "centroids_high": high}
    return _lsh(**{"bits": bits, "params": params, "algorithm": "dreamdb.imi-cosine", **changes})


_UNIT: Final = floats(1, 0, 0, 1, -0.6, 0.8)


# --- Objects ------------------------------------------------------------------------------------------------


def indexes() -> Iterator[Case]:
    """SpatialIndex Objects of each algorithm."""
    for name, of in _KINDS.items():
        if name != "ivf":  # its centroids are 2,496 bytes; a small one follows
            yield reference(
                f"reference-{name}", "0004-R1", "as the SDK wrote it", hex=smallest(of, "spatial-index/")
            )
    yield valid("lsh-255-bits", "0004-R1", "bits have no upper limit of their own", hex=_lsh(bits=255))
    yield valid("lsh-l2-width", "0004-R1", "a width of a quarter", hex=_l2(struct.pack("<d", 0.25)))
    yield valid("ivf-one", "0004-R1", "one centroid still has one bit", hex=_ivf(1, floats(1, 0), 1))
    yield valid("ivf-three", "0004-R1", "three centroids have two bits", hex=_ivf(3, _UNIT, 2))
    yield valid("ivf-not-unit", "0004-R10", "lengths other than one are taken", hex=_ivf(1, floats(3, 4), 1))
    yield valid(
        "imi-two", "0004-R1", "two bits a half is one bit each", hex=_imi(2, floats(1, -1), floats(1, -1), 2)
    )
    bad: dict[str, tuple[str, str, bytes]] = {
        "bits-zero": ("0004-R1", "at least one", _lsh(bits=0)),
        "bits-negative": ("0004-R1", "below zero", _lsh(bits=-1)),
        "bits-true": ("0004-R1", "true is no number", _lsh(bits=True)),
        "dim-zero": ("0004-R1", "at least one", _lsh(dim=0)),
        "dim-float": ("0004-R1", "a float", _lsh(dim=2.0)),
        "metric-of-another": ("0004-R1", "lsh-cosine is cosine", _lsh(metric="l2")),
        "algorithm-unknown": ("0000-R4", "a kind that nobody knows", _lsh(algorithm="dreamdb.hnsw")),
        "algorithm-null": ("0004-R1", "text", _lsh(algorithm=None)),
        "key-too-many": ("0000-R3", "the map is closed", _lsh(v=1)),
        "params-missing": ("0004-R1", "it must be there", _lsh(params=MISSING)),
        "params-key-too-many": (
            "0000-R3",
            "so is params",
            _lsh(params={"seed": _SEED, "version": 1, "salt": 1}),
        ),
        "params-of-another": (
            "0004-R1",
            "centroids with lsh",
            _lsh(params={"k": 1, "version": 1, "centroids": _UNIT}),
        ),
        "version-2": ("0000-R4", "names an embedding space", _lsh(params={"seed": _SEED, "version": 2})),
        "version-true": ("0004-R1", "true is not 1", _lsh(params={"seed": _SEED, "version": True})),
        "version-float": ("0004-R1", "1.0 is not 1", _lsh(params={"seed": _SEED, "version": 1.0})),
        "seed-31-bytes": ("0004-R1", "a byte short", _lsh(params={"seed": _SEED[1:], "version": 1})),
        "seed-text": ("0004-R1", "bytes", _lsh(params={"seed": "0" * 32, "version": 1})),
        "planes-too-many": ("0000-R2", "2^40 numbers to compute", _lsh(dim=1 << 16, bits=1 << 24)),
        "l2-bits": ("0004-R1", "always 64", _l2(bits=32)),
        "l2-width-zero": ("0004-R1", "above zero", _l2(bytes(8))),
        "l2-width-negative": ("0004-R1", "above zero", _l2(struct.pack("<d", -1.0))),
        "l2-width-nan": ("0004-R1", "a number", _l2(struct.pack("<d", float("nan")))),
        "l2-width-infinite": ("0004-R1", "finite", _l2(struct.pack("<d", float("inf")))),
        "l2-width-single": ("0004-R1", "eight bytes", _l2(floats(1))),
        "l2-width-float": ("0004-R1", "bytes, not a float", _l2(1.0)),  # type: ignore[arg-type]
        "ivf-bits": ("0004-R1", "three centroids have two", _ivf(3, _UNIT, 3)),
        "ivf-k-zero": ("0004-R1", "at least one", _ivf(0, b"", 1)),
        "ivf-k-wrong": ("0004-R1", "two said, three there", _ivf(2, _UNIT, 1)),
        "ivf-cut": ("0004-R1", "a byte short", _ivf(3, _UNIT[:-1], 2)),
        "ivf-nan": ("0004-R1", "not a number", _ivf(1, floats(1, float("nan")), 1)),
        "ivf-infinite": ("0004-R1", "not finite", _ivf(1, floats(1, float("inf")), 1)),
        "imi-odd-dim": ("0004-R1", "halves must be equal", _imi(1, floats(1), floats(1), 2, dim=3)),
        "imi-bits": ("0004-R1", "two a half", _imi(2, floats(1, -1), floats(1, -1), 1)),
        "imi-low-missing": (
            "0004-R1",
            "both codebooks",
            _lsh(
                bits=2,
                algorithm="dreamdb.imi-cosine",
                params={"k_sub": 1, "version": 1, "centroids_high": floats(1)},
            ),
        ),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


# --- words --------------------------------------------------------------------------------------------------


def words() -> Iterator[Case]:
    """Seeds to the first words of their streams."""
    zero = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    first = list(struct.unpack("<8i", bytes.fromhex(zero)))
    yield valid(
        "zeros", "0004-R5", "the first published block of ChaCha20", seed=bytes(32), count=8, expected=first
    )
    yield valid("counting", "0004-R5", "a block and one word", seed=_SEED, count=17)
    yield valid("many-blocks", "0004-R5", "the counter goes on", seed=b"\xff" * 32, count=70)
    yield valid("none", "0004-R5", "no words", seed=_SEED, count=0, expected=[])


def seeds() -> Iterator[Case]:
    """Names to the seeds that new indexes have."""
    for of, field in (("vec-lsh", "v"), ("vec-lsh-l2", "v")):
        stored = decode_cbor(smallest(of, "spatial-index/"))["params"]["seed"]
        yield valid(
            of,
            "0004-R6",
            "what the SDK took",
            dataset="fx",
            field=field,
            expected=stored,
            flags=["reference"],
        )
    yield valid("example", "0004-R6", "the example of 0004", dataset="t", field="v")
    yield valid("branch", "0004-R6", "a name with a slash", dataset="shard/0", field="v")
    yield valid("not-ascii", "0004-R6", "UTF-8", dataset="t", field="gr\u00fc\u00dfe")


# --- cells --------------------------------------------------------------------------------------------------


def _vectors_of(of: str) -> tuple[list[int], bytes, int]:
    noted = json.loads((SPACES / f"{of}.json").read_text("utf-8"))
    return noted["anchors"], base64.b64decode(noted["vectors_f32_b64"]), noted["dim"]


def _stored_keys(of: str) -> dict[int, str]:
    """Return the cell of each anchor, as paths and buckets of the stored Space say."""
    found = {}
    for path, data in space(of).items():
        key = path.split("/")[-2] if "/" in path else ""
        if ".bucketed/" in path and set(key) <= {"0", "1"} and key:
            size, count, header = struct.unpack(">III", data[8:20])
            for at in range(header, header + size * count, size):
                found[int.from_bytes(data[at : at + 8], "big")] = key
    return found


def cells() -> Iterator[Case]:
    """Vectors to the keys of their cells."""
    seed = bytes.fromhex(_T_V_SEED)
    example = _lsh(params={"seed": seed, "version": 1})
    yield valid(
        "example",
        "0004-R2 0004-R6",
        "dataset t, field v",
        index=example,
        vectors=floats(1, 2),
        expected=["1111"],
        flags=["reference"],
    )
    requirements = {"lsh": "0004-R6", "lsh-l2": "0004-R8", "ivf": "0004-R10", "imi": "0004-R12"}
    for name, of in _KINDS.items():
        anchors, data, dim = _vectors_of(of)
        keys = _stored_keys(of)
        rows = range(0, len(anchors), len(anchors) // 8)[:8]
        chosen = b"".join(data[4 * dim * row : 4 * dim * (row + 1)] for row in rows)
        expected = [keys[anchors[row]] for row in rows]
        comment = "where the SDK put eight of its vectors"
        yield valid(
            f"reference-{name}",
            f"0004-R2 {requirements[name]}",
            comment,
            index=smallest(of, "spatial-index/"),
            vectors=chosen,
            expected=expected,
            flags=["reference"],
        )
    yield valid(
        "lsh-length",
        "0004-R6",
        "the length does not matter",
        index=_lsh(),
        vectors=floats(1, 2, 1e-10, 2e-10, 1e10, 2e10),
    )
    yield valid(
        "lsh-255-bits",
        "0004-R2 0004-R6",
        "beyond 64 digits",
        index=_lsh(bits=255),
        vectors=floats(1, 2, -3, 4),
    )
    yield valid(
        "l2-both-sides",
        "0004-R8",
        "bins below zero",
        index=_l2(),
        vectors=floats(0, 0, 100, 0, -100, 0, 0, 100, 0, -100),
    )
    yield valid(
        "l2-narrow",
        "0004-R8",
        "a narrow width",
        index=_l2(struct.pack("<d", 0.125)),
        vectors=floats(1, 2, 3, 4),
    )
    yield valid(
        "ivf-three",
        "0004-R10",
        "the best dot product",
        index=_ivf(3, _UNIT, 2),
        vectors=floats(5, 1, 1, 5, -3, 4),
    )
    yield valid(
        "ivf-length-of-centroids",
        "0004-R10",
        "longer centroids attract more",
        index=_ivf(2, floats(1, 0, 0, 9), 1),
        vectors=floats(3, 1),
    )
    low, high = floats(1, 0, 0, 1, -1, 0), floats(0, 1, 1, 0, 0, -1)
    yield valid(
        "imi-three",
        "0004-R12",
        "a product, not two numbers side by side",
        index=_imi(3, low, high, 4, dim=4),
        vectors=floats(1, 0, 0, 1, 0, -1, -1, 0, 0, 1, 1, 0),
    )
    nan, infinity = float("nan"), float("inf")
    yield invalid("nan", "0004-R3", "not a number", index=_lsh(), vectors=floats(1, nan))
    yield invalid("infinite", "0004-R3", "not finite", index=_lsh(), vectors=floats(1, infinity))
    yield invalid("zero", "0004-R3", "no direction", index=_lsh(), vectors=floats(0, 0))
    yield invalid(
        "second-vector-zero", "0004-R3", "any of them", index=_ivf(3, _UNIT, 2), vectors=floats(1, 2, 0, 0)
    )
    yield invalid(
        "l2-out-of-bins",
        "0004-R8",
        "a bin beyond 64 bits",
        index=_l2(struct.pack("<d", 1e-30)),
        vectors=floats(1e30, 0),
    )
    yield invalid("another-dim", "0004-R3", "three numbers for dim 2", index=_lsh(), vectors=floats(1, 2, 3))


_T_V_SEED: Final = "68ee2c64199f45fd3c8cec591eca715b7172a241be0793a01c6a6c4ed8ef0592"


def probes() -> Iterator[Case]:
    """Queries to the cells worth reading, best first."""
    for bits in (1, 2, 4, 6):
        most = 1 + bits + bits * (bits - 1) // 2
        yield valid(
            f"lsh-{bits}-bits",
            "0004-R7",
            f"{most} cells and no more",
            index=_lsh(bits=bits),
            query=floats(0.3, -0.7),
            nprobe=most + 5,
        )
    yield valid(
        "lsh-first", "0004-R7", "the own cell first", index=_lsh(bits=16), query=floats(0.3, -0.7), nprobe=1
    )
    yield valid(
        "lsh-default", "0004-R7", "32 of 20 bits", index=_lsh(bits=20), query=floats(0.31, 0.62), nprobe=32
    )
    yield valid(
        "l2-five", "0004-R9", "the own bin, then the nearest", index=_l2(), query=floats(3.3, -0.7), nprobe=5
    )
    yield valid(
        "l2-fine",
        "0004-R9",
        "a narrow width",
        index=_l2(struct.pack("<d", 0.125)),
        query=floats(0.3, 0.7),
        nprobe=8,
    )
    yield valid(
        "ivf-all",
        "0004-R11",
        "every cell, by dot product",
        index=_ivf(3, _UNIT, 2),
        query=floats(0.2, 0.9),
        nprobe=9,
    )
    yield valid(
        "ivf-two", "0004-R11", "the best two", index=_ivf(3, _UNIT, 2), query=floats(-1, -1), nprobe=2
    )
    low, high = floats(1, 0, 0, 1, -0.6, 0.8), floats(0, 1, 0.8, 0.6, 0, -1)
    yield valid(
        "imi-all",
        "0004-R13",
        "sums of both halves",
        index=_imi(3, low, high, 4, dim=4),
        query=floats(0.9, 0.2, -0.4, 0.1),
        nprobe=9,
    )
    yield valid(
        "imi-halves-not-scaled",
        "0004-R13",
        "a half that is short says little",
        index=_imi(3, low, high, 4, dim=4),
        query=floats(0.01, 0.03, 0.7, 0.2),
        nprobe=4,
    )
    for name in ("ivf", "imi", "lsh"):
        of = _KINDS[name]
        _, data, dim = _vectors_of(of)
        index = smallest(of, "spatial-index/")
        yield valid(
            f"reference-{name}",
            f"0004-R{ {'ivf': 11, 'imi': 13, 'lsh': 7}[name] }",
            "an index that the SDK wrote, one of its vectors",
            index=index,
            query=data[: 4 * dim],
            nprobe=8,
        )
    yield invalid("nprobe-zero", "0004-R7", "at least one cell", index=_lsh(), query=floats(1, 2), nprobe=0)
    yield invalid("query-zero", "0004-R3", "no direction", index=_lsh(), query=floats(0, 0), nprobe=1)
    yield invalid(
        "query-of-another-dim", "0004-R3", "three numbers", index=_lsh(), query=floats(1, 2, 3), nprobe=1
    )


FILES: Final = (
    VectorFile(
        "0004",
        "spatial-indexes",
        "spatial_index",
        True,
        "SpatialIndex Objects",
        "How vectors become cells.",
        indexes,
    ),
    VectorFile(
        "0004",
        "words",
        "spatial.words",
        False,
        "Random words",
        "A seed to the first words of its stream.",
        words,
    ),
    VectorFile("0004", "seeds", "spatial.seed", False, "Seeds", "Names to the seed of a new index.", seeds),
    VectorFile(
        "0004",
        "cells",
        "spatial.assign",
        False,
        "Cells",
        "Vectors, float32 little-endian end to end, to the keys of their cells.",
        cells,
    ),
    VectorFile(
        "0004",
        "probes",
        "spatial.probe",
        False,
        "Probing orders",
        "A query to the keys of the cells to read, best first.",
        probes,
    ),
)
