"""Overlaps: stripes that hold the same anchor, as a union merge of branches can leave them. Spec 0021.

Our own appends never give an anchor twice. But when two branches did, and somebody merged them, both stripes are
there; so are a compacted stripe and those that it was made of, when only one of the branches was compacted. Stripes whose
ranges meet are compared once, by anchor, and the answer is kept in the local cache. Where they share anchors, the widest
stripe gets what the others know of its rows, and they lose them; local copies take the place of those that change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.codec.distinct import distinct, united
from dreamdb_arrow.columnar.apart import are_apart
from dreamdb_arrow.columnar.projection import dim_of, merge_rows
from dreamdb_arrow.columnar.rowset import RowSet, Stripe, keep_local
from dreamdb_arrow.columnar.stripe import (
    ANCHOR,
    anchors_of,
    conform,
    decode_stripe,
    encode_stripe,
    stripe_schema,
)
from dreamdb_arrow.columnar.vectors import I64, encode_vectors

VERSION: Final = 2


def settle_overlaps(rows: RowSet) -> RowSet:
    """Put local copies in the place of stripes that share anchors, so that no anchor is in two."""
    vectors = {
        name: _settle_group(rows, held, _fold_vectors(rows, name), partial(_vector_anchors, rows, name))
        for name, held in rows.vectors.items()
    }
    stripes = _settle_group(rows, rows.stripes, _fold_rows(rows), partial(_row_anchors, rows))
    return replace(rows, stripes=stripes, vectors=vectors)


Fold = Callable[[list[Stripe]], list[Stripe | None]]


def _settle_group(
    rows: RowSet, stripes: tuple[Stripe, ...], fold: Fold, anchors: Callable[[Stripe], I64]
) -> tuple[Stripe, ...]:
    settled: list[Stripe] = []
    for group in overlapping(stripes):
        settled += group if len(group) == 1 else _settle_one(rows, group, fold, anchors)
    return tuple(sorted(settled, key=lambda s: s.t0))


def _row_anchors(rows: RowSet, stripe: Stripe) -> I64:
    return anchors_of(decode_stripe(stripe.local(rows.store, rows.cache), [ANCHOR]))


def _vector_anchors(rows: RowSet, name: str, stripe: Stripe) -> I64:
    dim = next(dim_of(f) for f in rows.fields if f.name == name)
    return rows.cache.vectors(rows.store, stripe.path, stripe.address, dim).anchors


def _settle_one(
    rows: RowSet, group: list[Stripe], fold: Fold, anchors: Callable[[Stripe], I64]
) -> list[Stripe]:
    key = f"overlaps/{encode_cbor([bytes(s.address) for s in group]).hex()}"
    note = rows.cache.read_note(key)
    known = None if note is None else decode_outcome(note)
    outcome = None if known is None else [None if o is None else Stripe(*o) for o in known]
    if outcome is None or not all(o is None or rows.cache.has_whole(o.address) for o in outcome):
        if are_apart(rows.cache, group, anchors):
            return group
        outcome = fold(group)
        rows.cache.write_note(
            key, encode_outcome([None if o is None else (o.address, o.t0, o.t1) for o in outcome])
        )
    placed = [old if new is None else new for old, new in zip(group, outcome, strict=True)]
    return [s for s in placed if s.t0 < s.t1]


def _fold_rows(rows: RowSet) -> Fold:
    def fold(group: list[Stripe]) -> list[Stripe | None]:
        files = [s.local(rows.store, rows.cache) for s in group]
        held = [_row_anchors(rows, s) for s in group]
        shared = shared_anchors(held)
        outcome: list[Stripe | None] = [None] * len(group)
        doubled = [i for i in widest_first(group) if np.isin(shared, held[i]).any()]
        schema = stripe_schema(rows.fields)
        tables = [conform(decode_stripe(files[i]), schema) for i in doubled]
        for i, old, new in zip(doubled, tables, fold_tables(tables, shared), strict=True):
            if new is not old:
                outcome[i] = keep_local(rows.cache, encode_stripe(new), anchors_of(new))
        return outcome

    return fold


def _fold_vectors(rows: RowSet, name: str) -> Fold:
    def fold(group: list[Stripe]) -> list[Stripe | None]:
        dim = next(dim_of(f) for f in rows.fields if f.name == name)
        order = widest_first(group)
        held = [rows.cache.vectors(rows.store, group[i].path, group[i].address, dim) for i in order]
        anchors = [stripe.anchors for stripe in held]
        outcome: list[Stripe | None] = [None] * len(group)
        for i, s, keep in zip(order, held, drop_repeated(anchors, shared_anchors(anchors)), strict=True):
            if not keep.all():
                kept = encode_vectors(s.anchors[keep], s.vectors[keep])
                outcome[i] = keep_local(rows.cache, kept, s.anchors[keep])
        return outcome

    return fold


def widest_first(stripes: Sequence[Any]) -> list[int]:
    """Return the positions of stripes [t0, t1) in the order in which they count: a compacted one before its parts."""
    return sorted(range(len(stripes)), key=lambda i: (stripes[i].t0 - stripes[i].t1, stripes[i].address))


def overlapping(stripes: Iterable[Any]) -> Iterator[list[Any]]:
    """Group stripes, given by first anchor `t0`, whose ranges [t0, t1) run into one another."""
    group: list[Any] = []
    end = 0
    for stripe in stripes:
        if group and stripe.t0 >= end:
            yield group
            group, end = [], 0
        group.append(stripe)
        end = max(end, stripe.t1)
    if group:
        yield group


def shared_anchors(held: Sequence[I64]) -> I64:
    """Return the anchors that more than one of these arrays, each ascending and distinct, holds; ascending."""
    joined = np.sort(np.concatenate(held))
    return distinct(joined[1:][joined[1:] == joined[:-1]])


def fold_tables(tables: Sequence[pa.Table], shared: I64) -> list[pa.Table]:
    """Return the tables with each shared anchor in the first of them only, which gets what the others know of it.

    A table that does not change is returned as the object that it was.
    """
    folded: list[pa.Table] = []
    for table in tables:
        doubled = anchors_of(table)[np.isin(anchors_of(table), shared)]
        taken = np.zeros(len(table), dtype=bool)
        for nth, earlier in enumerate(folded):
            common = np.intersect1d(anchors_of(earlier), doubled, assume_unique=True)
            if len(common):
                taken |= np.isin(anchors_of(table), common)
                folded[nth] = _fill_rows(earlier, table, common)  # 0021-R10
        folded.append(table.filter(pa.array(~taken)) if taken.any() else table)
    return folded


def _fill_rows(table: pa.Table, other: pa.Table, common: I64) -> pa.Table:
    """Return a table with what another one knows of the rows at common anchors; its own media and arrays stay."""
    ours = np.isin(anchors_of(table), common)
    known = table.filter(pa.array(ours)).combine_chunks()
    rivals = other.filter(pa.array(np.isin(anchors_of(other), common))).combine_chunks()
    filled = merge_rows(rivals, known)
    if filled.equals(known):
        return table
    rest = table.filter(pa.array(~ours))
    return pa.concat_tables([rest, filled]).sort_by(ANCHOR).combine_chunks()


def drop_repeated(held: Sequence[I64], shared: I64) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return for each array which of its anchors to keep, so that a shared one stays in the first that has it."""
    kept: list[np.ndarray[Any, np.dtype[np.bool_]]] = []
    seen = np.empty(0, dtype=np.int64)
    for anchors in held:
        ours = np.isin(anchors, shared)
        kept.append(~(ours & np.isin(anchors, seen)))
        seen = united([seen, anchors[ours]])
    return kept


def encode_outcome(outcome: Sequence[tuple[Address, int, int] | None]) -> bytes:
    """Return a note: for each stripe of a group, in order, null if it stays, or what takes its place."""
    return encode_cbor([VERSION, [None if o is None else [bytes(o[0]), o[1], o[2]] for o in outcome]])


def decode_outcome(data: bytes) -> list[tuple[Address, int, int] | None] | None:
    """Return what `encode_outcome` was given; None for a note of another version."""
    raw: Any = decode_cbor(data)
    if not isinstance(raw, list) or raw[:1] != [VERSION]:
        return None
    return [None if o is None else (as_address(o[0]), int(o[1]), int(o[2])) for o in raw[1]]
