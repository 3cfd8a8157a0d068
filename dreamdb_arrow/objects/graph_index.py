"""GraphIndex Objects: how a graph over vectors was built and how its pages are cut. Spec 0013.

A closed map {dim, metric, params, algorithm, graph_layout}, in three forms:

    built       as a whole
    fresh       nodes were added since: `dreamdb.fresh-vamana-cosine`, the first params below `base`
    compressed  nodes hold codes: params of version 4, and the compressor beside `record_bytes`
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map, expect_map, expect_uint

VAMANA_COSINE: Final = "dreamdb.vamana-cosine"
FRESH_VAMANA_COSINE: Final = "dreamdb.fresh-vamana-cosine"
MAX_DIM: Final = 1 << 16
MAX_DEGREE: Final = 1 << 16
MAX_PAGE_NODES: Final = 1 << 24
_METRIC: Final = "cosine"
_PARAMS_VERSION: Final = 1
_COMPRESSED_VERSION: Final = 4
_FRESH_FORM: Final = "fresh-vamana-params-v1"
_SEED_BYTES: Final = 32
_KEYS: Final = frozenset({"dim", "metric", "params", "algorithm", "graph_layout"})
_PARAMS_KEYS: Final = frozenset({"alpha", "l_build", "version", "l_search", "build_seed", "build_passes"})
_BASE_KEYS: Final = frozenset({"alpha", "L_build", "version", "L_search", "build_seed", "build_passes"})
_FRESH_KEYS: Final = frozenset(
    {
        "base",
        "form",
        "lineage_root",
        "consolidation_threshold_appends",
        "consolidation_threshold_seconds",
    }
)
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
class Fresh:
    """Of a graph that nodes were added to: the GraphIndex it began with, and when its writer means to tidy it up."""

    root: Address
    appends: int = 1_000_000
    seconds: int = 86_400


@dataclass(frozen=True, slots=True)
class GraphIndex:
    """A graph over vectors of `dim` numbers. Raises LayoutError when the parts do not agree.

    `compressor` is the VectorCompressor of nodes that hold codes, `fresh` is there when nodes were added.
    """

    dim: int
    params: GraphParams
    layout: GraphLayout
    fresh: Fresh | None = None
    compressor: Address | None = None

    @property
    def algorithm(self) -> str:
        """The algorithm, as registry and schema name it."""
        return VAMANA_COSINE if self.fresh is None else FRESH_VAMANA_COSINE

    def __post_init__(self) -> None:
        layout = self.layout
        exact = self.compressor is None
        if not 1 <= self.dim <= MAX_DIM or (layout.record_bytes != 4 * self.dim and exact):
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
    layout = index.layout
    vectors: dict[str, Any] = {"record_bytes": layout.record_bytes}
    if index.compressor is not None:
        vectors["compressor_hash"] = bytes(index.compressor)
    return encode_cbor(
        {
            "dim": index.dim,
            "metric": _METRIC,
            "params": _encode_params(index),
            "algorithm": index.algorithm,
            "graph_layout": {
                "R": layout.max_degree,
                "node_count": layout.node_count,
                "entry_point": layout.entry_point,
                "vector_layout": vectors,
                "page_node_count": layout.page_node_count,
                "page_bytes_target": layout.page_bytes_target,
            },
        }
    )


def _encode_params(index: GraphIndex) -> dict[str, Any]:
    params, fresh = index.params, index.fresh
    found: dict[str, Any] = {
        "alpha": struct.pack("<f", params.alpha),
        "version": _PARAMS_VERSION if index.compressor is None else _COMPRESSED_VERSION,
        "build_seed": params.build_seed,
        "build_passes": params.build_passes,
    }
    if fresh is None:
        return {**found, "l_build": params.l_build, "l_search": params.l_search}
    return {
        "base": {**found, "L_build": params.l_build, "L_search": params.l_search},
        "form": _FRESH_FORM,
        "lineage_root": bytes(fresh.root),
        "consolidation_threshold_appends": fresh.appends,
        "consolidation_threshold_seconds": fresh.seconds,
    }


def decode_graph_index(data: bytes) -> GraphIndex:
    """Return the GraphIndex of these bytes.

    Raises:
        CanonicalError: not canonical CBOR.
        LayoutError: a key is missing or unknown, or a value does not fit.
        UnsupportedError: an algorithm, or a version or form of its params, that is not known here.
    """
    fields = expect_closed_map(decode_cbor(data), "a GraphIndex", _KEYS)
    algorithm = fields["algorithm"]
    if algorithm not in (VAMANA_COSINE, FRESH_VAMANA_COSINE):  # 0000-R4
        raise UnsupportedError(f"unknown graph algorithm {str(algorithm)[:80]!r}")
    if fields["metric"] != _METRIC:
        raise LayoutError(f"the metric of a GraphIndex is {_METRIC!r}")
    dim = expect_uint(fields["dim"], "dim of a GraphIndex")
    params, fresh = expect_map(fields["params"], "params of a GraphIndex"), None
    names = _PARAMS_KEYS
    if algorithm == FRESH_VAMANA_COSINE:
        fresh, names = _decode_fresh(params), _BASE_KEYS
        params = expect_map(params["base"], "base of a GraphIndex")
    known = (_PARAMS_VERSION,) if fresh else (_PARAMS_VERSION, _COMPRESSED_VERSION)
    version = expect_uint(params.get("version"), "version of the params of a GraphIndex")
    if version not in known:
        raise UnsupportedError(f"params of {algorithm} have version {version}")
    layout, compressor = _decode_layout(fields["graph_layout"], coded=version == _COMPRESSED_VERSION)
    return GraphIndex(dim, _decode_params(params, names), layout, fresh, compressor)


def _decode_fresh(params: dict[Any, Any]) -> Fresh:
    if params.get("form") != _FRESH_FORM:
        raise UnsupportedError(
            f"params of {FRESH_VAMANA_COSINE} have the form {str(params.get('form'))[:80]!r}"
        )
    expect_closed_map(params, "params of a GraphIndex", _FRESH_KEYS)
    return Fresh(
        expect_address(params["lineage_root"], "lineage_root of a GraphIndex"),
        expect_uint(params["consolidation_threshold_appends"], "threshold of a GraphIndex"),
        expect_uint(params["consolidation_threshold_seconds"], "threshold of a GraphIndex"),
    )


def _decode_params(params: dict[Any, Any], names: frozenset[str]) -> GraphParams:
    found = expect_closed_map(params, "params of a GraphIndex", names)
    width, search = sorted(name for name in names if name[0] in "lL")
    return GraphParams(
        alpha=struct.unpack("<f", _expect_bytes(found["alpha"], 4, "alpha"))[0],
        l_build=expect_uint(found[width], "l_build of a GraphIndex"),
        l_search=expect_uint(found[search], "l_search of a GraphIndex"),
        build_seed=_expect_bytes(found["build_seed"], _SEED_BYTES, "build_seed"),
        build_passes=expect_uint(found["build_passes"], "build_passes of a GraphIndex"),
    )


def _decode_layout(value: Any, *, coded: bool) -> tuple[GraphLayout, Address | None]:
    found = expect_closed_map(value, "graph_layout", _LAYOUT_KEYS)
    names = {"record_bytes", "compressor_hash"} if coded else {"record_bytes"}
    vectors = expect_closed_map(found["vector_layout"], "vector_layout", names)
    layout = GraphLayout(
        max_degree=expect_uint(found["R"], "R of a graph"),
        node_count=expect_uint(found["node_count"], "node_count of a graph"),
        entry_point=expect_uint(found["entry_point"], "entry_point of a graph"),
        record_bytes=expect_uint(vectors["record_bytes"], "record_bytes of a graph"),
        page_node_count=expect_uint(found["page_node_count"], "page_node_count of a graph"),
        page_bytes_target=expect_uint(found["page_bytes_target"], "page_bytes_target of a graph"),
    )
    return layout, expect_address(vectors["compressor_hash"], "compressor of a GraphIndex") if coded else None


def _expect_bytes(value: Any, size: int, what: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise LayoutError(f"{what} of a GraphIndex has {size} bytes")
    return value
