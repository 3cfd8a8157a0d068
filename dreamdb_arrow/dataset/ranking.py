"""What `iter_vector` is told, in the reference's words, as our search takes it. Spec 0006."""

from __future__ import annotations

from typing import Any, Final

from dreamdb_arrow.codec.address import ADDRESS_BYTES, as_address
from dreamdb_arrow.codec.modality import modality_param, parse_modality
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.rowset import RowSet
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.search import is_graph
from dreamdb_arrow.errors import InvalidInputError, LayoutError
from dreamdb_arrow.objects.schema import Field
from dreamdb_arrow.spatial.partitioners import DEFAULT_NPROBE, check_count

MODES: Final = ("inherit", "approximate", "exact")


def search_options(
    rows: RowSet,
    name: str,
    top_k: int,
    nprobe: int | None,
    pool_size: int | None,
    mode: str,
    spec_id: bytes | None,
) -> tuple[int | None, int | None]:
    """Return `nprobe` and `pool` of a search.

    Codes choose rows where a pool is asked for, or the mode `approximate`: then a search without `nprobe` reads as many
    cells as the reference does. Vectors of other fields are compared as they are, whatever is asked for, and so is
    every row of the cells where nothing is asked for.

    Raises InvalidInputError for values that are none, for a graph, which has no pool, for the mode `exact` of a field
    whose cells hold codes alone, and for a spec that is not the field's.
    """
    f, top_k = find_field(rows, name, ("embedding",)), check_count("k", top_k)
    check_spec(rows, f, spec_id)
    if mode not in MODES:
        raise InvalidInputError(f"rerank_mode must be inherit, approximate or exact, not {mode!r:.60}")
    if pool_size is not None and check_count("rerank_pool_size", pool_size) < top_k:
        raise InvalidInputError(f"rerank_pool_size must be at least top_k, {top_k}; it is {pool_size}")
    if is_graph(rows, name) and (pool_size is not None or mode != MODES[0]):
        raise InvalidInputError(f"field {name!r} is a graph: it has no rerank_pool_size and no rerank_mode")
    has_codes = f.options.get("compressor") is not None
    if mode == "exact" and has_codes and not f.options.get("rerank"):
        raise InvalidInputError(f"field {name!r} has codes and no exact vectors; leave rerank_mode away")
    if not has_codes or (pool_size is None and mode != "approximate"):
        return nprobe, None
    pool = top_k if mode == "approximate" else pool_size
    return DEFAULT_NPROBE if nprobe is None else nprobe, pool


def check_spec(rows: RowSet, f: Field, spec_id: Any) -> None:
    """Refuse a spec that is not the one that a field's vectors come from. Raises InvalidInputError."""
    if spec_id is None:
        return
    try:
        wanted = str(as_address(spec_id))
    except LayoutError:
        raise InvalidInputError(
            f"spec_id must be an address of {ADDRESS_BYTES} bytes, not {spec_id!r:.60}"
        ) from None
    entry = row_entry(rows.manifest, f.name)
    bound = None if entry is None else modality_param(parse_modality(entry.modality), "spec")
    if bound != wanted:
        raise InvalidInputError(
            f"field {f.name!r} is bound to {f'embedding spec {bound}' if bound else 'no embedding spec'}, not to {wanted}"
        )
