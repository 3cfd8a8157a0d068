"""SpatialIndex Objects: how vectors become cells. Specs 0004 and 0007.

A closed map {dim, bits, metric, params, algorithm}; `params` is closed too, and its form goes with the algorithm.
Floats in it are little-endian byte strings. All bytes that say where a vector belongs are in the Object.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map, expect_map

F32 = NDArray[np.float32]

LSH_COSINE: Final = "dreamdb.lsh-cosine"
LSH_L2: Final = "dreamdb.lsh-l2"
IVF_COSINE: Final = "dreamdb.ivf-cosine"
IMI_COSINE: Final = "dreamdb.imi-cosine"

DEFAULT_LSH_BITS: Final = 20
MAX_DIM: Final = 1 << 16
MAX_LSH_WORDS: Final = 1 << 24  # bits x dim: a bound on what a hostile index makes a reader compute
_KEYS: Final = {"dim", "bits", "metric", "params", "algorithm"}
_PARAMS_VERSION: Final = 1
_SPEC_VERSION: Final = 2  # of params in an index that is bound to an embedding spec
_SPEC_KEY: Final = "embedding_spec_id"


@dataclass(frozen=True, slots=True)
class LshCosineParams:
    """Hyperplanes, given by the seed of their key stream."""

    seed: bytes


@dataclass(frozen=True, slots=True)
class LshL2Params:
    """Bins on a line, given by the seed of its axis and their width."""

    seed: bytes
    bucket_width: float


@dataclass(frozen=True, slots=True)
class IvfCosineParams:
    """`k` centroids, rows of float32 LE."""

    k: int
    centroids: bytes


@dataclass(frozen=True, slots=True)
class ImiCosineParams:
    """Two codebooks of `k_sub` rows of float32 LE: `high` for the first half of a vector, `low` for the second."""

    k_sub: int
    low: bytes
    high: bytes


Params = LshCosineParams | LshL2Params | IvfCosineParams | ImiCosineParams


@dataclass(frozen=True, slots=True)
class SpatialIndex:
    """How vectors of `dim` numbers become keys of `bits` bits. Raises LayoutError when the parts do not agree.

    `spec` is the embedding spec that the vectors must come from, of an identified field.
    """

    dim: int
    bits: int
    metric: str
    algorithm: str
    params: Params
    spec: Address | None = None

    def __post_init__(self) -> None:
        kind = _kind(self.algorithm)
        if type(self.dim) is not int or not 1 <= self.dim <= MAX_DIM:
            raise LayoutError(f"a SpatialIndex has a dim of 1 to {MAX_DIM}, not {self.dim!r}")
        if type(self.bits) is not int or self.bits < 1:
            raise LayoutError(f"a SpatialIndex has at least one bit, not {self.bits!r}")
        if self.metric != kind.metric or type(self.params) is not kind.params:  # 0004-R1
            raise LayoutError(
                f"{self.algorithm} does not go with {self.metric!r}, {type(self.params).__name__}"
            )
        kind.check(self)  # 0004-R1


def make_lsh_cosine(dim: int, seed: bytes, bits: int = DEFAULT_LSH_BITS) -> SpatialIndex:
    """Return the index of `bits` hyperplanes drawn from a seed of 32 bytes."""
    return SpatialIndex(dim, bits, "cosine", LSH_COSINE, LshCosineParams(seed))


def make_lsh_l2(dim: int, seed: bytes, bucket_width: float = 1.0) -> SpatialIndex:
    """Return the index of bins of `bucket_width` on an axis drawn from a seed of 32 bytes."""
    return SpatialIndex(dim, 64, "l2", LSH_L2, LshL2Params(seed, bucket_width))


def make_ivf_cosine(centroids: F32) -> SpatialIndex:
    """Return the index of these centroids, float32 (k, dim)."""
    k, dim = centroids.shape
    return SpatialIndex(dim, _digits(k), "cosine", IVF_COSINE, IvfCosineParams(k, _row_bytes(centroids)))


def make_imi_cosine(low: F32, high: F32) -> SpatialIndex:
    """Return the index of two codebooks, float32 (k_sub, dim / 2): `high` is for the first half of a vector."""
    k_sub, half = high.shape
    params = ImiCosineParams(k_sub, _row_bytes(low), _row_bytes(high))
    return SpatialIndex(2 * half, 2 * _digits(k_sub), "cosine", IMI_COSINE, params)


def lsh_seed(dataset_name: str, field_name: str) -> bytes:
    """Return the seed, 32 bytes, that a field's hash has when nobody gave it one."""
    return bytes(address_of(f"{dataset_name}/{field_name}".encode())[1:])


def centroid_rows(rows: bytes, dim: int) -> F32:
    """Return the float32 LE rows in a params byte string as a read-only view, float32 (k, dim)."""
    return np.frombuffer(rows, dtype="<f4").reshape(-1, dim)


def encode_spatial_index(index: SpatialIndex) -> bytes:
    """Return the canonical bytes of a SpatialIndex."""
    params = _kind(index.algorithm).to_map(index.params)
    bound = {} if index.spec is None else {_SPEC_KEY: index.spec}
    version = _PARAMS_VERSION if index.spec is None else _SPEC_VERSION
    return encode_cbor(
        {
            **bound,
            "dim": index.dim,
            "bits": index.bits,
            "metric": index.metric,
            "params": {**params, "version": version},
            "algorithm": index.algorithm,
        }
    )


def decode_spatial_index(data: bytes) -> SpatialIndex:
    """Return the SpatialIndex of these bytes.

    Raises:
        CanonicalError: not canonical CBOR.
        LayoutError: a key is missing or unknown, or a value does not fit.
        UnsupportedError: an algorithm, or a version of its params, that is not known here.
    """
    fields = expect_closed_map(decode_cbor(data), "a SpatialIndex", _KEYS, {_SPEC_KEY})
    bound = _SPEC_KEY in fields
    kind = _kind(fields["algorithm"])
    params = expect_map(fields["params"], "params of a SpatialIndex")
    version = params.get("version")
    known = _SPEC_VERSION if bound else _PARAMS_VERSION
    if type(version) is not int or version != known:  # neither 1.0 nor true is 1
        raise UnsupportedError(f"params of {fields['algorithm']} have version {version!r:.80}")
    params = expect_closed_map(params, "params of a SpatialIndex", kind.keys | {"version"})
    return SpatialIndex(
        fields["dim"],
        fields["bits"],
        fields["metric"],
        fields["algorithm"],
        kind.from_map(params),
        expect_address(fields[_SPEC_KEY], _SPEC_KEY) if bound else None,
    )


# --- the algorithms -----------------------------------------------------------------------------------------


def _digits(count: int) -> int:
    """Return how many binary digits number `count` things, at least one."""
    return max(1, (count - 1).bit_length())


def _row_bytes(rows: F32) -> bytes:
    return np.ascontiguousarray(rows, dtype="<f4").tobytes()


def _check_seed(seed: Any) -> None:
    if not isinstance(seed, bytes) or len(seed) != 32:
        raise LayoutError("a seed has 32 bytes")


def _check_rows(rows: Any, count: int, dim: int) -> None:
    if type(count) is not int or count < 1:
        raise LayoutError(f"a codebook has at least one row, not {count!r}")
    if not isinstance(rows, bytes) or len(rows) != 4 * count * dim:
        raise LayoutError(f"a codebook of {count} x {dim} float32 has {4 * count * dim} bytes")
    if not np.isfinite(np.frombuffer(rows, dtype="<f4")).all():  # 0004-R1
        raise LayoutError("a codebook holds a number that is not finite")


def _check_bits(index: SpatialIndex, bits: int) -> None:
    if index.bits != bits:
        raise LayoutError(f"this {index.algorithm} has {bits} bits, not {index.bits}")


def _check_lsh_cosine(index: SpatialIndex) -> None:
    assert isinstance(index.params, LshCosineParams)
    _check_seed(index.params.seed)
    if index.bits * index.dim > MAX_LSH_WORDS:  # 0000-R2
        raise LayoutError(f"{index.bits} hyperplanes of {index.dim} numbers are more than {MAX_LSH_WORDS}")


def _check_lsh_l2(index: SpatialIndex) -> None:
    assert isinstance(index.params, LshL2Params)
    _check_seed(index.params.seed)
    _check_bits(index, 64)
    width: Any = index.params.bucket_width
    if not isinstance(width, float) or not 0.0 < width < math.inf:  # 0004-R1
        raise LayoutError(f"a bucket width is above zero and finite, not {width!r}")


def _check_ivf_cosine(index: SpatialIndex) -> None:
    assert isinstance(index.params, IvfCosineParams)
    _check_rows(index.params.centroids, index.params.k, index.dim)
    _check_bits(index, _digits(index.params.k))


def _check_imi_cosine(index: SpatialIndex) -> None:
    assert isinstance(index.params, ImiCosineParams)
    if index.dim % 2:  # 0004-R1
        raise LayoutError(f"the vectors of {IMI_COSINE} have two halves: a dim of {index.dim} has none")
    for rows in (index.params.low, index.params.high):
        _check_rows(rows, index.params.k_sub, index.dim // 2)
    _check_bits(index, 2 * _digits(index.params.k_sub))


def _width_from(value: Any) -> float:
    if not isinstance(value, bytes) or len(value) != 8:
        raise LayoutError("bucket_width_f64le has 8 bytes")
    return float(struct.unpack("<d", value)[0])


@dataclass(frozen=True, slots=True)
class _Kind:
    """One algorithm: its metric, the class and the keys of its params, the check, and the two directions."""

    metric: str
    params: type[Params]
    keys: frozenset[str]
    check: Callable[[SpatialIndex], None]
    to_map: Callable[[Any], dict[str, Any]]
    from_map: Callable[[dict[str, Any]], Params]


_KINDS: Final = {
    LSH_COSINE: _Kind(
        "cosine",
        LshCosineParams,
        frozenset({"seed"}),
        _check_lsh_cosine,
        lambda params: {"seed": params.seed},
        lambda found: LshCosineParams(found["seed"]),
    ),
    LSH_L2: _Kind(
        "l2",
        LshL2Params,
        frozenset({"seed", "bucket_width_f64le"}),
        _check_lsh_l2,
        lambda params: {
            "seed": params.seed,
            "bucket_width_f64le": struct.pack("<d", params.bucket_width),
        },
        lambda found: LshL2Params(found["seed"], _width_from(found["bucket_width_f64le"])),
    ),
    IVF_COSINE: _Kind(
        "cosine",
        IvfCosineParams,
        frozenset({"k", "centroids"}),
        _check_ivf_cosine,
        lambda params: {"k": params.k, "centroids": params.centroids},
        lambda found: IvfCosineParams(found["k"], found["centroids"]),
    ),
    IMI_COSINE: _Kind(
        "cosine",
        ImiCosineParams,
        frozenset({"k_sub", "centroids_low", "centroids_high"}),
        _check_imi_cosine,
        lambda params: {
            "k_sub": params.k_sub,
            "centroids_low": params.low,
            "centroids_high": params.high,
        },
        lambda found: ImiCosineParams(found["k_sub"], found["centroids_low"], found["centroids_high"]),
    ),
}


def _kind(algorithm: Any) -> _Kind:
    kind = _KINDS.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None:
        raise UnsupportedError(f"unknown spatial algorithm {str(algorithm)[:80]!r}")
    return kind
