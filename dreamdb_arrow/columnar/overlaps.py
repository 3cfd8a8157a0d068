"""Overlaps: stripes that hold the same anchor, as a union merge of branches can leave them. Spec 1000.

Our own appends never give an anchor twice. But when two branches did, and somebody merged them, both stripes are
there. Stripes whose ranges meet are compared once, by anchor, and the answer is kept in the local cache; where they
share anchors, local copies take their place: the first stripe gets what the others know of its rows, they lose them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.projection import merge_rows
from dreamdb_arrow.columnar.stripe import anchors_of
from dreamdb_arrow.columnar.vectors import I64

VERSION: Final = 1


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
    return np.unique(joined[1:][joined[1:] == joined[:-1]])


def fold_tables(tables: Sequence[pa.Table], shared: I64) -> list[pa.Table]:
    """Return the tables with each shared anchor in the first of them only, which gets what the others know of it."""
    folded: list[pa.Table] = []
    for table in tables:
        doubled = np.isin(anchors_of(table), shared)
        seen = [np.isin(anchors_of(earlier), anchors_of(table)[doubled]) for earlier in folded]
        taken = np.zeros(len(table), dtype=bool)
        for nth, common in enumerate(seen):
            if common.any():
                taken |= np.isin(anchors_of(table), anchors_of(folded[nth])[common])
                folded[nth] = merge_rows(folded[nth], table)
        folded.append(table.filter(pa.array(~taken)) if taken.any() else table)
    return folded


def drop_repeated(held: Sequence[I64], shared: I64) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return for each array which of its anchors to keep, so that a shared one stays in the first that has it."""
    kept: list[np.ndarray[Any, np.dtype[np.bool_]]] = []
    seen = np.empty(0, dtype=np.int64)
    for anchors in held:
        ours = np.isin(anchors, shared)
        kept.append(~(ours & np.isin(anchors, seen)))
        seen = np.union1d(seen, anchors[ours])
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
