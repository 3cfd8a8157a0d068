"""GraphIndex Objects: how a graph over vectors was built and how its pages are cut. Spec 0007.

A closed map {dim, metric, params, algorithm, graph_layout}. Appending nodes and compressing a graph give other forms of
it (`dreamdb.fresh-vamana-cosine`, params of version 4); those are not read here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_closed_map, expect_map, expect_uint

VAMANA_COSINE: Final = "dreamdb.vamana-cosine"
MAX_DIM: Final = 1 << 16
MAX_DEGREE: Final = 1 << 16
MAX_PAGE_NODES: Final = 1 << 24
_METRIC: Final = "cosine"
_PARAMS_VERSION: Final = 1
_SEED_BYTES: Final = 32
_KEYS: Final = frozenset({"dim", "metric", "params", "algorithm", "graph_layout"})
_PARAMS_KEYS: Final = frozenset({"alpha", "l_build", "version", "l_search", "build_seed", "build_passes"})
_LAYOUT_KEYS: Final = frozenset(
    {"R", "node_count", "entry_point", "vector_layout", "page_node_count", "page_bytes_target"}
)


@dataclass(frozen=True, slots=True)
class GraphParams:
    """What the graph was built with: how far edges reach, the widths of the searches, the seed, the passes."""

    alpha: float = 1.2000000476837158  # 1.2 as a float32
    l_build: int = 100
    l_search: int = 100
    build_seed: bytes = bytes(_SEED_BYTES)
    build_passes: int = 2


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """How its nodes lie in pages: page p holds the nodes from p * page_node_count on."""

    max_degree: int
    node_count: int
    entry_point: int
    record_bytes: int
    page_node_count: int = 256
    page_bytes_target: int = 65_536

    @property
    def page_count(self) -> int:
        """Return how many pages there are."""
        return -(-self.node_count // self.page_node_count)


@dataclass(frozen=True, slots=True)
class GraphIndex:
    """A graph over vectors of `dim` numbers. Raises LayoutError when the parts do not agree."""

    dim: int
    params: GraphParams
    layout: GraphLayout

    def __post_init__(self) -> None:
        layout = self.layout
        if not 1 <= self.dim <= MAX_DIM or layout.record_bytes != 4 * self.dim:
            raise LayoutError(f"a graph of dim {self.dim} cannot have vectors of {layout.record_bytes} bytes")
        if not 1 <= layout.max_degree <= MAX_DEGREE or not 1 <= layout.page_node_count <= MAX_PAGE_NODES:
            raise LayoutError(
                "a graph has degrees and pages of at least one, and not without limit"
            )  # 0000-R2
        if not 0 <= layout.entry_point < layout.node_count:
            raise LayoutError(
                f"a graph of {layout.node_count} nodes cannot be entered at {layout.entry_point}"
            )
        if not math.isfinite(self.params.alpha) or self.params.alpha <= 0:
            raise LayoutError(f"alpha of a graph is above zero, not {self.params.alpha}")


def encode_graph_index(index: GraphIndex) -> bytes:
    """Return the canonical bytes."""
    params, layout = index.params, index.layout
    return encode_cbor(
        {
            "dim": index.dim,
            "metric": _METRIC,
            "params": {
                "alpha": struct.pack("<f", params.alpha),
                "l_build": params.l_build,
                "version": _PARAMS_VERSION,
                "l_search": params.l_search,
                "build_seed": params.build_seed,
                "build_passes": params.build_passes,
            },
            "algorithm": VAMANA_COSINE,
            "graph_layout": {
                "R": layout.max_degree,
                "node_count": layout.node_count,
                "entry_point": layout.entry_point,
                "vector_layout": {"record_bytes": layout.record_bytes},
                "page_node_count": layout.page_node_count,
                "page_bytes_target": layout.page_bytes_target,
            },
        }
    )


def decode_graph_index(data: bytes) -> GraphIndex:
    """Return the GraphIndex of these bytes.

    Raises:
        CanonicalError: not canonical CBOR.
        LayoutError: a key is missing or unknown, or a value does not fit.
        UnsupportedError: an algorithm, or a version of its params, that is not known here.
    """
    fields = expect_closed_map(decode_cbor(data), "a GraphIndex", _KEYS)
    if fields["algorithm"] != VAMANA_COSINE:  # 0000-R4
        raise UnsupportedError(f"unknown graph algorithm {str(fields['algorithm'])[:80]!r}")
    if fields["metric"] != _METRIC:
        raise LayoutError(f"the metric of a GraphIndex is {_METRIC!r}")
    dim = expect_uint(fields["dim"], "dim of a GraphIndex")
    return GraphIndex(dim, _decode_params(fields["params"]), _decode_layout(fields["graph_layout"]))


def _decode_params(value: Any) -> GraphParams:
    found = expect_map(value, "params of a GraphIndex")
    version = expect_uint(found.get("version"), "version of the params of a GraphIndex")
    if version != _PARAMS_VERSION:
        raise UnsupportedError(f"params of {VAMANA_COSINE} have version {version}")
    found = expect_closed_map(found, "params of a GraphIndex", _PARAMS_KEYS)
    return GraphParams(
        alpha=struct.unpack("<f", _expect_bytes(found["alpha"], 4, "alpha"))[0],
        l_build=expect_uint(found["l_build"], "l_build of a GraphIndex"),
        l_search=expect_uint(found["l_search"], "l_search of a GraphIndex"),
        build_seed=_expect_bytes(found["build_seed"], _SEED_BYTES, "build_seed"),
        build_passes=expect_uint(found["build_passes"], "build_passes of a GraphIndex"),
    )


def _decode_layout(value: Any) -> GraphLayout:
    found = expect_closed_map(value, "graph_layout", _LAYOUT_KEYS)
    vectors = expect_closed_map(found["vector_layout"], "vector_layout", {"record_bytes"})
    return GraphLayout(
        max_degree=expect_uint(found["R"], "R of a graph"),
        node_count=expect_uint(found["node_count"], "node_count of a graph"),
        entry_point=expect_uint(found["entry_point"], "entry_point of a graph"),
        record_bytes=expect_uint(vectors["record_bytes"], "record_bytes of a graph"),
        page_node_count=expect_uint(found["page_node_count"], "page_node_count of a graph"),
        page_bytes_target=expect_uint(found["page_bytes_target"], "page_bytes_target of a graph"),
    )


def _expect_bytes(value: Any, size: int, what: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise LayoutError(f"{what} of a GraphIndex has {size} bytes")
    return value
