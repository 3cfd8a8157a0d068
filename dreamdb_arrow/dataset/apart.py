"""Versions that surely share no row, told by times alone: what each has of its own lies apart. Spec 0008.

Writers that each fill a stretch of time are told apart without a look at any row or index.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dreamdb_arrow.columnar.vendor import STRIPE, VECTORS, VENDOR_MODALITIES, read_fragments
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry, find_entry
from dreamdb_arrow.objects.track import EMPTY_COVERAGE
from dreamdb_arrow.store.interface import Store

Span = tuple[int, int]


def lie_apart(store: Store, base: Manifest, versions: Sequence[Manifest]) -> bool:
    """Whether no two versions have rows since the base at times that meet; False also where times do not tell."""
    spans = [_own_span(store, base, version) for version in versions]
    told = sorted(span for span in spans if span)
    return None not in spans and all(one[1] <= two[0] for one, two in pairwise(told))


def _own_span(store: Store, base: Manifest, version: Manifest) -> tuple[()] | Span | None:
    """Return the times [t0, t1) around all that a version has and the base has not; () for nothing, None for unknown."""
    spans: list[Span] = []
    for entry in version.tracks.active:
        before = find_entry(base.tracks, entry.field)
        if before == entry or entry.kind == "constant":
            continue
        if entry.modality in (STRIPE, VECTORS):
            spans += _new_fragments(store, base, version, entry)
        elif entry.modality not in VENDOR_MODALITIES:
            if before is not None and before.coverage != EMPTY_COVERAGE:
                return None  # only its index would tell what was there before
            spans.append(entry.coverage)
    return (min(t0 for t0, _ in spans), max(t1 for _, t1 in spans)) if spans else ()


def _new_fragments(store: Store, base: Manifest, version: Manifest, entry: TrackEntry) -> list[Span]:
    field = entry.field.partition(":")[2]
    known = set(read_fragments(store, base, entry.modality, field))
    held = read_fragments(store, version, entry.modality, field)
    return [(f.t0, f.t1) for f in held if f not in known]
