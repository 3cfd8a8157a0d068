"""New rows as objects: stripes, vector stripes, packs of media. Specs 0006 and 0021."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.columnar.media_refs import refs_of_items
from dreamdb_arrow.columnar.stripe import ANCHOR, TIME, anchors_of, encode_stripe, stripe_schema
from dreamdb_arrow.columnar.vectors import F32, I64, vector_parts
from dreamdb_arrow.columnar.vendor import MEDIA, STRIPE, VECTORS, Fragment
from dreamdb_arrow.dataset.incoming import Incoming
from dreamdb_arrow.objects.schema import Field, modality_of
from dreamdb_arrow.store.batch import LARGE_BYTES, Batch
from dreamdb_arrow.tracks.layout import payload_directory
from dreamdb_arrow.tracks.media import MediaItems, pack_media

PACK_ITEMS_MAX: Final = 256
PACK_BYTES: Final = 1 << 20  # who looks at one item reads and verifies its pack

Key = tuple[str, str]  # vendor modality and field
Made = dict[Key, list[Fragment]]


@dataclass(slots=True)
class Rows:
    """Rows in stored form, ascending by anchor.

    table     the columns of a stripe
    vectors   by field: anchors int64 (m,) and vectors float32 (m, d)
    payloads  what the media columns name: until a flush, only the vendor Track keeps these objects alive
    """

    table: pa.Table
    vectors: dict[str, tuple[I64, F32]] = field(default_factory=dict)
    payloads: list[Fragment] = field(default_factory=list)


def store_rows(
    rows: Incoming, anchors: I64, fields: Sequence[Field], timeline: Address, batch: Batch
) -> Rows:
    """Sort rows by anchor, put their media into the batch, and return the rest in stored form."""
    # 0021-R4
    order = None if bool((anchors[1:] > anchors[:-1]).all()) else np.argsort(anchors, kind="stable")
    ordered = anchors if order is None else anchors[order]
    columns: dict[str, Any] = {ANCHOR: pa.array(ordered), TIME: pa.array(ordered).view(pa.timestamp("ns"))}
    payloads: list[Fragment] = []
    for f in fields:
        held = next((c[f.name] for c in (rows.scalars, rows.media, rows.arrays) if f.name in c), None)
        if held is None:
            continue
        values = held if order is None else held.take(pa.array(order))
        if f.name in rows.media:
            values = _store_media(f, values, ordered, timeline, batch, payloads)
        columns[f.name] = values
    schema = stripe_schema(f for f in fields if f.name in columns)
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    vectors = {
        name: _order_vectors(anchors, order, *held) for name, held in rows.vectors.items() if held[0].any()
    }
    return Rows(table, vectors, payloads)


def _order_vectors(anchors: I64, order: I64 | None, present: Any, vectors: F32) -> tuple[I64, F32]:
    held = anchors if present.all() else anchors[present]
    if order is None:
        return held, vectors
    at = np.argsort(held, kind="stable")
    return held[at], vectors[at]


def _store_media(
    f: Field, values: pa.Array, anchors: I64, timeline: Address, batch: Batch, payloads: list[Fragment]
) -> pa.Array:
    """Write the bytes of one media column and return where they lie, null where there are none."""
    present = np.asarray(values.is_valid())
    blobs = [memoryview(scalar.as_buffer()) for scalar in values.filter(values.is_valid())]
    chunk_size = f.options.get("chunk_size")
    pack_items = 1 if chunk_size else int(f.options.get("pack_items") or _items_a_pack(blobs))
    held = anchors[present]
    items = pack_media(
        batch, timeline, modality_of(f), held, blobs, pack_items=pack_items, chunk_size=chunk_size
    )
    payloads += _item_payloads(items)
    if chunk_size:
        payloads += _chunk_payloads(held, blobs, int(chunk_size))
    return refs_of_items(items).take(pa.array(np.cumsum(present) - 1, mask=~present))


def _items_a_pack(blobs: Sequence[memoryview]) -> int:
    """Return how many items to pack when the field does not say: as many as fill a mebibyte, roughly."""
    mean = max(1, sum(len(b) for b in blobs) // max(1, len(blobs)))
    return min(PACK_ITEMS_MAX, max(1, PACK_BYTES // mean))


def _item_payloads(items: MediaItems) -> list[Fragment]:
    """Return each object that the items name once, with the range of anchors it serves."""
    found: dict[Address, Fragment] = {}
    rows = zip(
        items.anchors.tolist(), items.offsets.tolist(), items.sizes.tolist(), items.addresses, strict=True
    )
    for anchor, offset, size, name in rows:
        address = Address(name.tobytes())
        low = found[address].t0 if address in found else anchor
        found[address] = Fragment(low, anchor + 1, offset + size, address)
    return list(found.values())


def _chunk_payloads(anchors: I64, blobs: Sequence[memoryview], chunk_size: int) -> list[Fragment]:
    chunks = []
    for anchor, blob in zip(anchors.tolist(), blobs, strict=True):
        parts = [blob[at : at + chunk_size] for at in range(0, len(blob), chunk_size)] or [blob]
        chunks += [Fragment(anchor, anchor + 1, len(part), address_of(part)) for part in parts]
    return chunks


def write_stripes(
    rows: Rows,
    timeline: Address,
    batch: Batch,
    unite: Callable[[pa.Table], pa.Table] | None = None,
    meanwhile: Callable[[], object] = bool,
) -> Iterator[tuple[Key, list[Fragment]]]:
    """Put the stripes of one commit into the batch; yield their fragments with their vendor modality and field.

    `unite` brings more rows into the stripe. A thread encodes it while this one hashes and writes large vectors, and then
    does what the caller wants to have done `meanwhile`.
    """
    table = rows.table if unite is None else unite(rows.table)
    large = sum(v.nbytes for _, v in rows.vectors.values()) >= LARGE_BYTES
    with ThreadPoolExecutor(1) as beside:
        stripe = beside.submit(_put_stripe, timeline, batch, table) if large else None
        vectors = {name: _put_vectors(timeline, batch, held) for name, held in rows.vectors.items()}
        meanwhile()
        yield (STRIPE, ""), [stripe.result() if stripe else _put_stripe(timeline, batch, table)]
    yield from (((VECTORS, name), [fragment]) for name, fragment in vectors.items())
    if rows.payloads:
        yield (MEDIA, ""), rows.payloads  # 0001-R14, 0021-R6


def _put_stripe(timeline: Address, batch: Batch, table: pa.Table) -> Fragment:
    return _put(batch, timeline, STRIPE, anchors_of(table), (memoryview(encode_stripe(table)),))


def _put_vectors(timeline: Address, batch: Batch, held: tuple[I64, F32]) -> Fragment:
    return _put(batch, timeline, VECTORS, held[0], vector_parts(*held))


def _put(
    batch: Batch, timeline: Address, modality: str, anchors: I64, parts: tuple[memoryview, ...]
) -> Fragment:
    address = batch.add(payload_directory(timeline, modality), *parts)
    return Fragment(int(anchors[0]), int(anchors[-1]) + 1, sum(p.nbytes for p in parts), address)
