"""Operations on cells, buckets of vectors, codes and graphs. Specs 0004 and 0007."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from metadata import Codec, object_codec
from notation import F32

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.kernels.chacha import key_stream
from dreamdb_arrow.kernels.pq import decode_pq, encode_pq
from dreamdb_arrow.kernels.rabitq import decode_rabitq, encode_rabitq, rotation
from dreamdb_arrow.objects.anchor_index_page import (
    AnchorLeaf,
    AnchorRoot,
    decode_anchor_leaf,
    decode_anchor_root,
    encode_anchor_leaf,
    encode_anchor_root,
)
from dreamdb_arrow.objects.graph_index import decode_graph_index, encode_graph_index
from dreamdb_arrow.objects.graph_page import GraphPage, decode_graph_page, encode_graph_page
from dreamdb_arrow.objects.spatial_bucket import (
    SpatialBucket,
    VectorSidecar,
    decode_spatial_bucket,
    decode_vector_sidecar,
    encode_spatial_bucket,
    encode_vector_sidecar,
)
from dreamdb_arrow.objects.spatial_index import decode_spatial_index, encode_spatial_index, lsh_seed
from dreamdb_arrow.objects.vector_compressor import (
    RabitqParams,
    codebook_rows,
    decode_vector_compressor,
    encode_vector_compressor,
)
from dreamdb_arrow.spatial.partitioners import assign_cells, probe_cells

_ANCHORS: Final = 1 << 64  # decoded anchors are int64; the format's are unsigned


def _rows(data: bytes, dim: int) -> np.ndarray:
    if len(data) % (4 * dim):
        raise InvalidInputError(f"{len(data)} bytes are not rows of {dim} numbers")
    return np.frombuffer(data, "<f4").reshape(-1, dim)


def _flat(rows: np.ndarray) -> bytes:
    return np.ascontiguousarray(rows, "<f4").tobytes()


# --- cells --------------------------------------------------------------------------------------------------


def _assign(index: bytes, vectors: bytes) -> list[str]:
    spatial = decode_spatial_index(index)
    cells = assign_cells(spatial, _rows(vectors, spatial.dim))
    return [cells.keys[code] for code in cells.codes.tolist()]


def _seed(dataset: str, field: str) -> bytes:
    return lsh_seed(dataset, field)


def _probe(index: bytes, query: bytes, nprobe: int) -> list[str]:
    return probe_cells(decode_spatial_index(index), np.frombuffer(query, "<f4"), nprobe)


# --- buckets ------------------------------------------------------------------------------------------------


def _read_bucket(data: bytes) -> Any:
    bucket = decode_spatial_bucket(data)
    payload = bucket.codes if bucket.vectors is None else bucket.vectors
    assert payload is not None
    common = {"index": bucket.index, "modality": bucket.modality, "width": payload.shape[1]}
    anchors = [anchor % _ANCHORS for anchor in bucket.anchors.tolist()]
    if bucket.compressor is None:
        return {**common, "anchors": anchors, "vectors": _flat(payload)}
    return {**common, "anchors": anchors, "compressor": bucket.compressor, "codes": payload.tobytes()}


def _write_bucket(value: Any) -> bytes:
    anchors = np.array(value["anchors"], np.uint64).astype(np.int64)
    index, modality, width = Address(value["index"]), value["modality"], value["width"]
    if "codes" not in value:
        vectors = np.frombuffer(value["vectors"], "<f4").reshape(-1, width)
        return encode_spatial_bucket(SpatialBucket(index, modality, anchors, vectors))
    codes = np.frombuffer(value["codes"], np.uint8).reshape(-1, width)
    compressor = Address(value["compressor"])
    return encode_spatial_bucket(SpatialBucket(index, modality, anchors, None, compressor, codes))


def _read_sidecar(data: bytes) -> Any:
    sidecar = decode_vector_sidecar(data)
    return {
        "modality": sidecar.modality,
        "width": sidecar.vectors.shape[1],
        "vectors": _flat(sidecar.vectors),
    }


def _write_sidecar(value: Any) -> bytes:
    rows = np.frombuffer(value["vectors"], "<f4").reshape(-1, value["width"])
    return encode_vector_sidecar(VectorSidecar(value["modality"], rows))


# --- codes --------------------------------------------------------------------------------------------------


def _encode_codes(compressor: bytes, vectors: bytes) -> dict[str, bytes]:
    found = decode_vector_compressor(compressor)
    rows = _rows(vectors, found.dim)
    if isinstance(found.params, RabitqParams):
        turn = rotation(found.params.rotation_seed, found.dim)
        factors = found.params.with_correction_factors
        codes = encode_rabitq(turn, rows, found.params.bits_per_dim, factors=factors)
        if factors:
            return {"codes": codes[:, :-4].tobytes(), "factors": F32(codes[:, -4:].tobytes())}
        return {"codes": codes.tobytes()}
    return {"codes": encode_pq(codebook_rows(found), rows).tobytes()}


def _decode_codes(compressor: bytes, codes: bytes) -> F32:
    found = decode_vector_compressor(compressor)
    rows = np.frombuffer(codes, np.uint8).reshape(-1, found.code_bytes)
    if isinstance(found.params, RabitqParams):
        turn = rotation(found.params.rotation_seed, found.dim)
        factors = found.params.with_correction_factors
        return F32(_flat(decode_rabitq(turn, rows, found.params.bits_per_dim, factors=factors)))
    return F32(_flat(decode_pq(codebook_rows(found), rows)))


# --- graphs -------------------------------------------------------------------------------------------------


def _read_graph_page(data: bytes) -> Any:
    page = decode_graph_page(data)
    ends = page.degrees.cumsum()
    nodes = [
        [anchor, payload.tobytes(), page.neighbours[end - degree : end].tolist()]
        for anchor, payload, degree, end in zip(
            page.anchors.tolist(), page.payloads, page.degrees, ends, strict=True
        )
    ]
    return {
        "number": page.number,
        "first_node": page.first_node,
        "max_degree": page.max_degree,
        "index": page.index,
        "modality": page.modality,
        "width": page.payloads.shape[1],
        "nodes": nodes,
    }


def _write_graph_page(value: Any) -> bytes:
    nodes, width = value["nodes"], value["width"]
    return encode_graph_page(
        GraphPage(
            value["number"],
            value["first_node"],
            value["max_degree"],
            Address(value["index"]),
            value["modality"],
            np.array([node[0] for node in nodes], np.uint64),
            np.frombuffer(b"".join(node[1] for node in nodes), np.uint8).reshape(len(nodes), width),
            np.array([len(node[2]) for node in nodes], np.int64),
            np.array([each for node in nodes for each in node[2]], np.uint64),
        )
    )


# --- anchor indexes -----------------------------------------------------------------------------------------


def _addresses(rows: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 33)


def _read_anchor_leaf(data: bytes) -> Any:
    leaf = decode_anchor_leaf(data)
    rows = zip(leaf.anchors.tolist(), leaf.sidecars, leaf.rows.tolist(), strict=True)
    return [[anchor, sidecar.tobytes(), row] for anchor, sidecar, row in rows]


def _write_anchor_leaf(value: list[Any]) -> bytes:
    anchors = np.array([row[0] for row in value], np.uint64)
    rows = np.array([row[2] for row in value], np.uint32)
    return encode_anchor_leaf(AnchorLeaf(anchors, _addresses([row[1] for row in value]), rows))


def _read_anchor_root(data: bytes) -> Any:
    root = decode_anchor_root(data)
    pairs = zip(root.firsts.tolist(), root.leaves, strict=True)
    return [[first, leaf.tobytes()] for first, leaf in pairs]


def _write_anchor_root(value: list[Any]) -> bytes:
    firsts = np.array([row[0] for row in value], np.uint64)
    return encode_anchor_root(AnchorRoot(firsts, _addresses([row[1] for row in value])))


CODECS: Final[dict[str, Codec]] = {
    "spatial_index": object_codec(decode_spatial_index, encode_spatial_index),
    "spatial_bucket": (_read_bucket, _write_bucket),
    "vector_sidecar": (_read_sidecar, _write_sidecar),
    "vector_compressor": object_codec(decode_vector_compressor, encode_vector_compressor),
    "graph_index": object_codec(decode_graph_index, encode_graph_index),
    "graph_page": (_read_graph_page, _write_graph_page),
    "anchor_leaf": (_read_anchor_leaf, _write_anchor_leaf),
    "anchor_root": (_read_anchor_root, _write_anchor_root),
}

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "spatial.seed": _seed,
    "spatial.words": lambda seed, count: key_stream(seed, count).tolist(),
    "spatial.assign": _assign,
    "spatial.probe": _probe,
    "codes.encode": _encode_codes,
    "codes.decode": _decode_codes,
}
