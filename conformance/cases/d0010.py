"""Cases of 0010: VectorCompressor Objects, codes and what they say of their vectors."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from notation import F32

from cases.d0004 import floats
from cases.kit import MISSING, SPACES, Case, VectorFile, changed, invalid, reference, smallest, space, valid
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_ZEROS: Final = bytes(32)


def rabitq(
    dim: int = 2, bits: int = 1, *, factors: bool = False, seed: bytes = _ZEROS, **changes: Any
) -> bytes:
    """Return a RaBitQ compressor."""
    params = {"version": 1, "bits_per_dim": bits, "rotation_seed": seed}
    if factors:
        params["with_correction_factors"] = True
    base = {
        "dim": dim,
        "metric": "cosine",
        "params": params,
        "algorithm": "dreamdb.rabitq-cosine",
        "code_bytes": -(-dim * bits // 8) + (4 if factors else 0),
        "supports_decode": True,
    }
    return encode_cbor(changed(base, **changes))


def pq(m: int, k: int, codebooks: bytes, **changes: Any) -> bytes:
    """Return a PQ compressor."""
    params = {"k": k, "m": m, "version": 1, "codebooks": codebooks, "training_seed": _ZEROS}
    dim = len(codebooks) // 4 // max(k, 1)
    return rabitq(dim, **{"params": params, "algorithm": "dreamdb.pq-cosine", "code_bytes": m, **changes})


_BOOKS: Final = floats(1, 0, 0, 1, -0.6, 0.8, 0, -1, 0.8, 0.6, -1, 0)


def objects() -> Iterator[Case]:
    """VectorCompressor Objects."""
    yield reference("example", "0010-R1 0010-R3", "dim 2, one bit, with factors", hex=rabitq(factors=True))
    stored = {
        "rabitq": "vec-ivf-rabitq",
        "rabitq-four-bits": "vec-ivf-rabitq4",
        "rabitq-hybrid": "vec-hybrid",
    }
    for name, of in stored.items():
        yield reference(
            f"reference-{name}", "0010-R1", "as the SDK wrote it", hex=smallest(of, "vector-compressor/")
        )
    for bits in (1, 2, 4, 8):
        yield valid(f"rabitq-{bits}-bits", "0010-R1", "no factors", hex=rabitq(5, bits))
    yield valid("pq", "0010-R1 0010-R3", "two parts, three rows each", hex=pq(2, 3, _BOOKS))
    yield valid("pq-one-row", "0010-R3", "a codebook of one row", hex=pq(1, 1, floats(1, 0)))
    yield from _broken()


def _broken() -> Iterator[Case]:
    params: dict[str, Any] = decode_cbor(rabitq())["params"]
    books: dict[str, Any] = decode_cbor(pq(2, 3, _BOOKS))["params"]
    bad: dict[str, tuple[str, str, bytes]] = {
        "algorithm-unknown": ("0000-R4", "learned codes", rabitq(algorithm="dreamdb.qinco")),
        "metric-l2": ("0010-R1", "cosine alone", rabitq(metric="l2")),
        "code-bytes-wrong": ("0010-R1", "two bytes for two bits", rabitq(code_bytes=2)),
        "code-bytes-float": ("0010-R1", "a float", rabitq(code_bytes=1.0)),
        "decoding-not-supported": ("0010-R1", "it always is", rabitq(supports_decode=False)),
        "decoding-number": ("0010-R1", "1 is not true", rabitq(supports_decode=1)),
        "key-too-many": ("0000-R3", "the map is closed", rabitq(v=1)),
        "key-missing": ("0000-R1", "all six", rabitq(supports_decode=MISSING)),
        "version-2": ("0000-R4", "a version that nobody knows", rabitq(params={**params, "version": 2})),
        "version-true": ("0010-R1", "true is not 1", rabitq(params={**params, "version": True})),
        "bits-three": ("0010-R3", "1, 2, 4 or 8", rabitq(params={**params, "bits_per_dim": 3})),
        "bits-true": ("0010-R3", "true is not 1", rabitq(params={**params, "bits_per_dim": True})),
        "seed-31-bytes": ("0010-R3", "a byte short", rabitq(params={**params, "rotation_seed": bytes(31)})),
        "factors-false": (
            "0010-R3",
            "true, or absent",
            rabitq(params={**params, "with_correction_factors": False}),
        ),
        "factors-with-four-bits": (
            "0010-R3",
            "with one bit only",
            rabitq(2, 4, params={**params, "bits_per_dim": 4, "with_correction_factors": True}, code_bytes=5),
        ),
        "params-key-too-many": ("0000-R3", "the map is closed", rabitq(params={**params, "salt": 1})),
        "dim-zero": ("0010-R1", "at least one", rabitq(dim=0, code_bytes=0)),
        "rotation-too-large": ("0000-R2", "2^32 numbers to compute", rabitq(1 << 16)),
        "pq-parts-do-not-divide": (
            "0010-R3",
            "four numbers in three parts",
            pq(2, 3, _BOOKS, params={**books, "m": 3}, code_bytes=3),
        ),
        "pq-257-rows": ("0010-R3", "a code is one byte", pq(1, 257, floats(*[0.0] * 257))),
        "pq-no-rows": ("0010-R3", "at least one", pq(1, 0, floats(1, 0))),
        "pq-codebooks-cut": (
            "0010-R3",
            "a number short",
            pq(2, 3, _BOOKS, params={**books, "codebooks": _BOOKS[:-4]}),
        ),
        "pq-nan": ("0010-R3", "not a number", pq(1, 1, floats(1, float("nan")))),
        "pq-seed-missing": (
            "0000-R1",
            "all five",
            pq(2, 3, _BOOKS, params=changed(books, training_seed=MISSING)),
        ),
    }
    for name, (requirement, comment, data) in bad.items():
        yield invalid(name, requirement, comment, hex=data)


def _stored_rows(of: str, count: int) -> tuple[bytes, bytes]:
    """Return some vectors of a stored Space and the codes that the SDK gave them."""
    noted = json.loads((SPACES / f"{of}.json").read_text("utf-8"))
    dim, data = noted["dim"], base64.b64decode(noted["vectors_f32_b64"])
    place = {anchor: row for row, anchor in enumerate(noted["anchors"])}
    found: dict[int, bytes] = {}
    for path, bucket in space(of).items():
        if ".bucketed" in path and bucket[:4] == b"VBUU":
            size, number, header = struct.unpack(">III", bucket[8:20])
            for at in range(header, header + size * number, size):
                found[int.from_bytes(bucket[at : at + 8], "big")] = bucket[at + 8 : at + size]
    anchors = sorted(found)[:: len(found) // count][:count]
    rows = b"".join(data[4 * dim * place[a] : 4 * dim * (place[a] + 1)] for a in anchors)
    return rows, b"".join(found[a] for a in anchors)


_STORED: Final = {
    "rabitq": ("vec-ivf-rabitq", 4),
    "rabitq-four-bits": ("vec-ivf-rabitq4", 0),
    "pq": ("vec-ivf-pq", 0),
}


def encoded() -> Iterator[Case]:
    """Vectors to codes."""
    for name, (of, factor) in _STORED.items():
        compressor = smallest(of, "vector-compressor/")
        rows, codes = _stored_rows(of, 12)
        yield valid(
            f"reference-{name}",
            "0010-R4 0006-R7",
            "twelve vectors and the codes that the SDK gave them",
            compressor=compressor,
            vectors=rows,
            expected=_split(codes, decode_cbor(compressor)["code_bytes"], factor),
            flags=["reference"],
        )
    for bits in (1, 2, 4, 8):
        yield valid(
            f"rabitq-{bits}-bits",
            "0010-R4",
            "five numbers: the last byte has bits to spare",
            compressor=rabitq(5, bits, seed=bytes(range(32))),
            vectors=floats(0.1, -0.2, 0.3, -0.4, 0.5, 0.9, 0.1, 0.1, 0.1, 0.1),
        )
    yield valid(
        "rabitq-beyond-the-span",
        "0010-R4",
        "long vectors stop at the ends",
        compressor=rabitq(2, 4),
        vectors=floats(100, 0, -100, 0),
    )
    yield valid(
        "pq",
        "0010-R4",
        "the largest dot product of each part",
        compressor=pq(2, 3, _BOOKS),
        vectors=floats(3, 1, 1, 2, -1, 1, -2, -3),
    )
    yield invalid(
        "another-dim", "0010-R1", "three numbers for dim 2", compressor=rabitq(), vectors=floats(1, 2, 3)
    )


def _split(codes: bytes, width: int, factor: int) -> Any:
    rows = [codes[at : at + width] for at in range(0, len(codes), width)]
    if not factor:
        return {"codes": codes}
    return {
        "codes": b"".join(row[:-factor] for row in rows),
        "factors": F32(b"".join(row[-factor:] for row in rows)),
    }


def decoded() -> Iterator[Case]:
    """Codes to vectors."""
    for name, (of, _) in _STORED.items():
        _, codes = _stored_rows(of, 6)
        yield valid(
            f"reference-{name}",
            "0010-R4",
            "codes that the SDK wrote",
            compressor=smallest(of, "vector-compressor/"),
            codes=codes,
        )
    yield valid(
        "rabitq-no-factors",
        "0010-R4",
        "a sign over the root of dim",
        compressor=rabitq(),
        codes=b"\x00\x01\x02\x03",
    )
    yield valid(
        "rabitq-eight-bits",
        "0010-R4",
        "the middle of each step",
        compressor=rabitq(2, 8),
        codes=b"\x00\xff\x80\x7f",
    )
    yield valid("pq", "0010-R4", "rows side by side", compressor=pq(2, 3, _BOOKS), codes=b"\x00\x02\x02\x00")
    yield invalid(
        "pq-code-of-no-row", "0010-R5", "row 3 of three", compressor=pq(2, 3, _BOOKS), codes=b"\x00\x03"
    )


FILES: Final = (
    VectorFile(
        "0010",
        "vector-compressors",
        "vector_compressor",
        True,
        "VectorCompressor Objects",
        "How vectors become codes.",
        objects,
    ),
    VectorFile(
        "0010",
        "codes-encoded",
        "codes.encode",
        False,
        "Codes",
        "Vectors, float32 little-endian end to end, to their codes end to end; factors, if any, apart.",
        encoded,
    ),
    VectorFile(
        "0010",
        "codes-decoded",
        "codes.decode",
        False,
        "Reconstructions",
        "Codes end to end to what they say of their vectors.",
        decoded,
    ),
)
