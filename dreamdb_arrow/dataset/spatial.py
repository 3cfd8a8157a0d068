"""Spatial indexes of new and of growing fields. Spec 0004."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.vectors import F32
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.objects.spatial_index import (
    DEFAULT_LSH_BITS,
    IMI_COSINE,
    IVF_COSINE,
    LSH_COSINE,
    LSH_L2,
    ImiCosineParams,
    IvfCosineParams,
    SpatialIndex,
    decode_spatial_index,
    encode_spatial_index,
    lsh_seed,
    make_imi_cosine,
    make_ivf_cosine,
    make_lsh_cosine,
    make_lsh_l2,
)
from dreamdb_arrow.spatial.training import book_size_for, cells_for, train_imi, train_ivf
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.vectors import load_compressor

DIRECTORY: Final = "spatial-index"
TRAINED_FROM: Final = 256  # rows: fewer would fix cells that say little of the rows to come


def load_spatial_index(store: Store, address: Address) -> SpatialIndex:
    """Fetch and decode a SpatialIndex."""
    return decode_spatial_index(fetch(store, f"{DIRECTORY}/{address}", address))


def publish_spatial_index(batch: Batch, index: SpatialIndex) -> Address:
    """Put a SpatialIndex into the batch and return its address."""
    return batch.add(DIRECTORY, encode_spatial_index(index))


def registry_of_new_field(store: Store, batch: Batch, dataset_name: str, f: Field) -> dict[str, Any]:
    """Return what the registry says of the modality of an embedding field that is being declared.

    Raises InvalidInputError when a given index or compressor is of another algorithm or dimension.
    """
    index = index_of_new_field(store, batch, dataset_name, f)
    found: dict[str, Any] = {"algorithm": f.options["algorithm"], "spatial_index": [bytes(index)]}  # 0004-R4
    if f.options.get("compressor") is not None:
        address = as_address(f.options["compressor"])
        compressor = load_compressor(store, address)
        if compressor.dim != dim_of(f):
            raise InvalidInputError(
                f"field {f.name!r}: the given compressor is for {compressor.dim} dimensions, "
                f"the schema says {dim_of(f)}"
            )
        found["vector_compressor"] = bytes(address)
    return found


def index_of_new_field(store: Store, batch: Batch, dataset_name: str, f: Field) -> Address:
    """Return the address of the SpatialIndex of a field that is being declared.

    One that the schema names must be there and fit; LSH follows from the names. IVF and IMI without one begin with
    a single cell, so that the Space is valid at once, and are trained when a flush finds TRAINED_FROM rows.

    Raises InvalidInputError when a given index is of another algorithm or dimension.
    """
    given = f.options.get("spatial_index")
    if given is None:
        return publish_spatial_index(batch, _untrained(dataset_name, f))
    address = as_address(given)
    index = load_spatial_index(store, address)
    if (index.algorithm, index.dim) != (f.options["algorithm"], dim_of(f)):
        raise InvalidInputError(
            f"field {f.name!r}: the given index is {index.algorithm} of {index.dim} dimensions, "
            f"the schema says {f.options['algorithm']} of {dim_of(f)}"
        )
    return address


def _untrained(dataset_name: str, f: Field) -> SpatialIndex:
    dim, algorithm = dim_of(f), f.options.get("algorithm", LSH_COSINE)
    if algorithm == LSH_COSINE:
        return make_lsh_cosine(
            dim, lsh_seed(dataset_name, f.name), int(f.options.get("lsh_bits", DEFAULT_LSH_BITS))
        )
    if algorithm == LSH_L2:
        return make_lsh_l2(dim, lsh_seed(dataset_name, f.name))
    if algorithm == IVF_COSINE:
        return make_ivf_cosine(np.eye(1, dim, dtype=np.float32))
    if dim % 2:
        raise InvalidInputError(f"field {f.name!r}: {IMI_COSINE} needs an even dimension, not {dim}")
    return make_imi_cosine(*(np.eye(1, dim // 2, dtype=np.float32) for _ in range(2)))


def is_one_cell(index: SpatialIndex) -> bool:
    """Whether an index has a single cell, as one of centroids has before it is trained."""
    params = index.params
    if isinstance(params, ImiCosineParams):
        return params.k_sub == 1
    return isinstance(params, IvfCosineParams) and params.k == 1


def trained_index(index: SpatialIndex, vectors: F32) -> SpatialIndex:
    """Return an index with as many cells as these vectors deserve.

    An index that has its cells, or too few vectors to tell where cells should be, gives back the index as it is.
    """
    if not is_one_cell(index) or len(vectors) < TRAINED_FROM:
        return index
    if index.algorithm == IVF_COSINE:
        return train_ivf(vectors, cells_for(len(vectors)))
    return train_imi(vectors, book_size_for(len(vectors)))
