"""VectorCompressor Objects: how the vectors of a field become short codes. Spec 0007.

A closed map {dim, metric, params, algorithm, code_bytes, supports_decode}; `params` is closed too, and its form goes with
the algorithm. All that is needed to make a code, and to turn it back into a vector, is in the Object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_closed_map, expect_map, expect_uint

F32 = NDArray[np.float32]

RABITQ_COSINE: Final = "dreamdb.rabitq-cosine"
PQ_COSINE: Final = "dreamdb.pq-cosine"

MAX_DIM: Final = 1 << 16
MAX_ROTATION_DIM: Final = (
    1 << 12
)  # dim x dim numbers: a bound on what a hostile Object makes a reader compute
MAX_CODEBOOK_ROWS: Final = 256  # a code is one byte
SEED_BYTES: Final = 32
FACTOR_BYTES: Final = 4
BITS_PER_DIM: Final = (1, 2, 4, 8)
_KEYS: Final = frozenset({"dim", "metric", "params", "algorithm", "code_bytes", "supports_decode"})
_METRIC: Final = "cosine"
_PARAMS_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class RabitqParams:
    """Bits a number, the seed of the rotation, and whether a factor follows the bits (with one bit only)."""

    bits_per_dim: int
    rotation_seed: bytes
    with_correction_factors: bool = False


@dataclass(frozen=True, slots=True)
class PqParams:
    """`m` codebooks of `k` rows of dim / m float32 LE each, end to end, and the seed they were trained with."""

    k: int
    m: int
    codebooks: bytes
    training_seed: bytes


Params = RabitqParams | PqParams


@dataclass(frozen=True, slots=True)
class VectorCompressor:
    """How vectors of `dim` numbers become codes. Raises LayoutError when the parts do not agree."""

    dim: int
    algorithm: str
    params: Params

    def __post_init__(self) -> None:
        kind = _kind(self.algorithm)
        if type(self.dim) is not int or not 1 <= self.dim <= MAX_DIM:  # 0000-R2
            raise LayoutError(f"a VectorCompressor has a dim of 1 to {MAX_DIM}, not {self.dim!r:.80}")
        if type(self.params) is not kind.params:
            raise LayoutError(f"{self.algorithm} does not go with {type(self.params).__name__}")
        kind.check(self)

    @property
    def code_bytes(self) -> int:
        """Return the size of one code."""
        return _kind(self.algorithm).code_bytes(self)


def make_rabitq(
    dim: int,
    bits_per_dim: int = 1,
    rotation_seed: bytes = bytes(SEED_BYTES),
    *,
    with_correction_factors: bool = False,
) -> VectorCompressor:
    """Return the compressor to `bits_per_dim` bits a number."""
    params = RabitqParams(bits_per_dim, rotation_seed, with_correction_factors)
    return VectorCompressor(dim, RABITQ_COSINE, params)


def make_pq(codebooks: F32, training_seed: bytes = bytes(SEED_BYTES)) -> VectorCompressor:
    """Return the compressor of these codebooks, float32 (m, k, dim / m)."""
    m, k, width = codebooks.shape
    params = PqParams(k, m, np.ascontiguousarray(codebooks, "<f4").tobytes(), training_seed)
    return VectorCompressor(m * width, PQ_COSINE, params)


def codebook_rows(compressor: VectorCompressor) -> F32:
    """Return the codebooks of a PQ compressor as a read-only view, float32 (m, k, dim / m)."""
    params = compressor.params
    assert isinstance(params, PqParams)
    return np.frombuffer(params.codebooks, "<f4").reshape(params.m, params.k, compressor.dim // params.m)


def encode_vector_compressor(compressor: VectorCompressor) -> bytes:
    """Return the canonical bytes."""
    params = _kind(compressor.algorithm).to_map(compressor.params)
    return encode_cbor(
        {
            "dim": compressor.dim,
            "metric": _METRIC,
            "params": {**params, "version": _PARAMS_VERSION},
            "algorithm": compressor.algorithm,
            "code_bytes": compressor.code_bytes,
            "supports_decode": True,
        }
    )


def decode_vector_compressor(data: bytes) -> VectorCompressor:
    """Return the VectorCompressor of these bytes.

    Raises:
        CanonicalError: not canonical CBOR.
        LayoutError: a key is missing or unknown, or a value does not fit.
        UnsupportedError: an algorithm, or a version of its params, that is not known here.
    """
    fields = expect_closed_map(decode_cbor(data), "a VectorCompressor", _KEYS)
    kind = _kind(fields["algorithm"])
    params = expect_map(fields["params"], "params of a VectorCompressor")
    version = expect_uint(params.get("version"), "version of the params of a VectorCompressor")
    if version != _PARAMS_VERSION:
        raise UnsupportedError(f"params of {fields['algorithm']} have version {version}")
    params = expect_closed_map(params, "params of a VectorCompressor", kind.keys | {"version"}, kind.optional)
    compressor = VectorCompressor(fields["dim"], fields["algorithm"], kind.from_map(params))
    if fields["metric"] != _METRIC or fields["supports_decode"] is not True:
        raise LayoutError(f"a VectorCompressor has the metric {_METRIC!r} and supports decoding")
    if expect_uint(fields["code_bytes"], "code_bytes") != compressor.code_bytes:
        raise LayoutError(f"codes of this VectorCompressor have {compressor.code_bytes} bytes")
    return compressor


# --- the algorithms -----------------------------------------------------------------------------------------


def _expect_seed(seed: Any) -> None:
    if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
        raise LayoutError(f"a seed has {SEED_BYTES} bytes")


def _check_rabitq(compressor: VectorCompressor) -> None:
    params = compressor.params
    assert isinstance(params, RabitqParams)
    _expect_seed(params.rotation_seed)
    if type(params.bits_per_dim) is not int or params.bits_per_dim not in BITS_PER_DIM:
        raise LayoutError(f"bits_per_dim is 1, 2, 4 or 8, not {params.bits_per_dim!r:.80}")
    if params.with_correction_factors and params.bits_per_dim != 1:
        raise LayoutError("correction factors go with one bit per dimension only")
    if compressor.dim > MAX_ROTATION_DIM:  # 0000-R2
        raise LayoutError(f"a rotation is read up to dim {MAX_ROTATION_DIM}, not {compressor.dim}")


def _rabitq_bytes(compressor: VectorCompressor) -> int:
    params = compressor.params
    assert isinstance(params, RabitqParams)
    return -(-compressor.dim * params.bits_per_dim // 8) + FACTOR_BYTES * params.with_correction_factors


def _rabitq_from(found: Mapping[str, Any]) -> RabitqParams:
    if found.get("with_correction_factors", True) is not True:
        raise LayoutError("with_correction_factors is true, or absent")
    return RabitqParams(
        found["bits_per_dim"], found["rotation_seed"], found.get("with_correction_factors", False)
    )


def _rabitq_map(params: RabitqParams) -> dict[str, Any]:
    fields = {"bits_per_dim": params.bits_per_dim, "rotation_seed": params.rotation_seed}
    return {**fields, "with_correction_factors": True} if params.with_correction_factors else fields


def _check_pq(compressor: VectorCompressor) -> None:
    params = compressor.params
    assert isinstance(params, PqParams)
    _expect_seed(params.training_seed)
    if type(params.k) is not int or not 1 <= params.k <= MAX_CODEBOOK_ROWS:
        raise LayoutError(f"a codebook has 1 to {MAX_CODEBOOK_ROWS} rows, not {params.k!r:.80}")
    if type(params.m) is not int or params.m < 1 or compressor.dim % params.m:
        raise LayoutError(f"a dim of {compressor.dim} cannot be cut into {params.m!r:.80} parts")
    codebooks: Any = params.codebooks
    if not isinstance(codebooks, bytes) or len(codebooks) != 4 * params.k * compressor.dim:
        raise LayoutError(f"codebooks of {params.k} rows have {4 * params.k * compressor.dim} bytes in all")
    if not np.isfinite(np.frombuffer(codebooks, "<f4")).all():
        raise LayoutError("a codebook holds NaN or infinity")


def _pq_bytes(compressor: VectorCompressor) -> int:
    params = compressor.params
    assert isinstance(params, PqParams)
    return params.m


def _pq_from(found: Mapping[str, Any]) -> PqParams:
    return PqParams(found["k"], found["m"], found["codebooks"], found["training_seed"])


def _pq_map(params: PqParams) -> dict[str, Any]:
    return {
        "k": params.k,
        "m": params.m,
        "codebooks": params.codebooks,
        "training_seed": params.training_seed,
    }


@dataclass(frozen=True, slots=True)
class _Kind:
    """One algorithm: the class and the keys of its params, the check, the size of a code, the two directions."""

    params: type[Params]
    keys: frozenset[str]
    optional: frozenset[str]
    check: Callable[[VectorCompressor], None]
    code_bytes: Callable[[VectorCompressor], int]
    to_map: Callable[[Any], dict[str, Any]]
    from_map: Callable[[Mapping[str, Any]], Params]


_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        RABITQ_COSINE: _Kind(
            RabitqParams,
            frozenset({"bits_per_dim", "rotation_seed"}),
            frozenset({"with_correction_factors"}),
            _check_rabitq,
            _rabitq_bytes,
            _rabitq_map,
            _rabitq_from,
        ),
        PQ_COSINE: _Kind(
            PqParams,
            frozenset({"k", "m", "codebooks", "training_seed"}),
            frozenset(),
            _check_pq,
            _pq_bytes,
            _pq_map,
            _pq_from,
        ),
    }
)


def _kind(algorithm: Any) -> _Kind:
    kind = _KINDS.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None:
        raise UnsupportedError(f"unknown compression algorithm {str(algorithm)[:80]!r}")
    return kind
