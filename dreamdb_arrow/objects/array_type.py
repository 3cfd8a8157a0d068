"""Item types: what every item of an array field is. Spec 0007.

    dense     {family "dense-array", shape, ...}      numbers of one shape, `[]` for a single one
    ragged    {family "ragged-array", inner_shape}    rows of any length, whose cells have one shape
    sparse    {family "sparse-csr", shape, ...}       a matrix as its numbers that are not zero, by row

The type stands in the schema and, under the modality, in the registry; its Address is part of the modality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_list, expect_map, expect_text, expect_uint

DENSE: Final = "dense-array"
RAGGED: Final = "ragged-array"
CSR: Final = "sparse-csr"
RAW: Final = "raw"
NPY: Final = "npy"
OFFSETS: Final = "offsets-values"
DTYPES: Final[Mapping[str, str]] = {
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
ENDIANNESS: Final[Mapping[str, str]] = {"little": "<", "big": ">"}
CODECS: Final[Mapping[str, tuple[str, ...]]] = {DENSE: (RAW, NPY), RAGGED: (OFFSETS,), CSR: (RAW,)}
LAYOUTS: Final[Mapping[str, tuple[str, ...]]] = {DENSE: ("c", "f"), RAGGED: ("c",), CSR: ("c",)}
DIMS_MAX: Final = 32
NUMBERS_MAX: Final = (1 << 31) - 1  # what one Arrow list can hold
EMPTY_LISTS_MAX: Final = 1 << 8  # of an array without numbers: no byte of a payload stands for them
_VERSION: Final = 1
_TEXTS: Final = ("dtype", "endianness", "layout", "codec", "semantic_type", "units", "frame", "axis_order")


@dataclass(frozen=True, slots=True)
class ItemType:
    """The type of an array field's items; `shape` of ragged ones is that of a cell."""

    family: str
    dtype: str
    shape: tuple[int, ...] = ()
    endianness: str = "little"
    layout: str = "c"
    codec: str = RAW
    semantic_type: str = "none"
    units: str = "none"
    frame: str = "none"
    axis_order: str = "none"

    @property
    def native(self) -> np.dtype[Any]:
        """The NumPy type of its numbers in memory."""
        return np.dtype(DTYPES[self.dtype])

    @property
    def stored(self) -> np.dtype[Any]:
        """The NumPy type of its numbers in payloads."""
        return np.dtype(ENDIANNESS[self.endianness] + DTYPES[self.dtype])


def encode_item_type(of: ItemType) -> dict[str, Any]:
    """Return the map that stands for the type in schema and registry."""
    shape = "inner_shape" if of.family == RAGGED else "shape"
    index = {"index_dtype": "u64"} if of.family == CSR else {}
    told = {name: getattr(of, name) for name in _TEXTS}
    return {
        **told,
        **index,
        "family": of.family,
        shape: list(of.shape),
        "codec_version": _VERSION,
        "version": _VERSION,
    }


def decode_item_type(value: Any) -> ItemType:
    """Return the type that a map stands for.

    Raises LayoutError for a map that is none, UnsupportedError for a family, version or form that is not known, and
    for arrays too large to be lists.
    """
    found = expect_map(value, "item type")
    family = expect_text(found.get("family"), "family of an item type")
    if family not in CODECS:
        raise UnsupportedError(f"arrays of family {family!r:.80} are not supported")
    shape = expect_list(found.get("inner_shape" if family == RAGGED else "shape"), "shape of an item type")
    texts = {name: expect_text(found.get(name), f"{name} of an item type") for name in _TEXTS}
    made = ItemType(family, shape=tuple(expect_uint(n, "shape of an item type") for n in shape), **texts)
    check_item_type(made)
    if encode_item_type(made) != found:
        raise UnsupportedError(f"an item type of family {family} has versions or keys that are not known")
    return made


def check_item_type(of: ItemType) -> ItemType:
    """Return a type whose words are known and whose items can be lists. Raises UnsupportedError."""
    known: dict[str, Any] = {
        "dtype": DTYPES,
        "endianness": ENDIANNESS,
        "layout": LAYOUTS[of.family],
        "codec": CODECS[of.family],
    }
    for name, words in known.items():
        if getattr(of, name) not in words:
            raise UnsupportedError(
                f"{name} {getattr(of, name)!r:.80} of {of.family} items is not one of {', '.join(words)}"
            )
    _SHAPES[of.family](of.shape)
    return of


def _check_dense(shape: tuple[int, ...]) -> None:
    if len(shape) > DIMS_MAX:
        raise UnsupportedError(f"an array of {len(shape)} dimensions, at most {DIMS_MAX} are supported")
    if prod(shape) > NUMBERS_MAX:
        raise UnsupportedError(f"an array of shape {list(shape)!s:.80} has more than {NUMBERS_MAX} numbers")
    if prod(n for n in shape if n) > EMPTY_LISTS_MAX and 0 in shape:
        raise UnsupportedError(f"an array of shape {list(shape)!s:.80} has no numbers, but too many rows")


def _check_ragged(shape: tuple[int, ...]) -> None:
    _check_dense(shape)
    if 0 in shape:
        raise UnsupportedError("ragged arrays whose cells have no numbers are not supported")


def _check_csr(shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise LayoutError(f"a sparse matrix has two dimensions, not {len(shape)}")
    if shape[0] > NUMBERS_MAX:
        raise UnsupportedError(f"a sparse matrix of {shape[0]} rows, at most {NUMBERS_MAX} are supported")


_SHAPES: Final[Mapping[str, Callable[[tuple[int, ...]], None]]] = {
    DENSE: _check_dense,
    RAGGED: _check_ragged,
    CSR: _check_csr,
}
