"""Dropped columns: what decommissioned fields left in stripes, kept from later fields of the same name. Spec 0021."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.cover_note import CoverNote
from dreamdb_arrow.columnar.rowset import RowSet, Stripe, keep_local
from dreamdb_arrow.columnar.stripe import anchors_of, decode_stripe, encode_stripe


def leave_out_dropped(rows: RowSet, note: CoverNote | None) -> RowSet:
    """Put local copies in the place of stripes that hold the values of an earlier field of the same name."""
    if note is None or not note.dropped:
        return rows
    names = {f.name for f in rows.fields}
    dropped = {name: listed for name, listed in note.dropped.items() if name in names}
    stripes = tuple(_without(rows, s, dropped_from(s.address, dropped)) for s in rows.stripes)
    vectors = {
        name: tuple(s for s in held if s.address not in dropped.get(name, ()))
        for name, held in rows.vectors.items()
    }
    return replace(rows, stripes=stripes, vectors=vectors)


def dropped_from(stripe: Address, dropped: Mapping[str, frozenset[Address]]) -> list[str]:
    """Return the columns of a stripe that do not count, by name."""
    return sorted(name for name, listed in dropped.items() if stripe in listed)


def drop_columns(table: pa.Table, names: list[str]) -> pa.Table:
    """Return a table without these columns, as far as it has them."""
    held = [name for name in names if name in table.column_names]
    return table.drop_columns(held) if held else table


def _without(rows: RowSet, stripe: Stripe, names: list[str]) -> Stripe:
    if not names:
        return stripe
    key = f"dropped/{stripe.address}/{'/'.join(names)}"
    known = rows.cache.read_note(key)
    copy = None if known is None else as_address(known)
    if copy is None or not rows.cache.has_whole(copy):
        table = drop_columns(decode_stripe(stripe.local(rows.store, rows.cache)), names)
        copy = keep_local(rows.cache, encode_stripe(table), anchors_of(table)).address
        rows.cache.write_note(key, bytes(copy))
    return Stripe(copy, stripe.t0, stripe.t1)
