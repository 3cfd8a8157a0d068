"""Unions that keep both of two values at one anchor, as those of the reference SDK do. Spec 0008."""

from __future__ import annotations

import time

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.merge import union_change
from dreamdb_arrow.history.ancestry import merge_base
from dreamdb_arrow.history.commit import Change, commit
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.history.refs import resolve_ref
from dreamdb_arrow.history.registries import OURS, Parting
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.batch import Batch


def keep_both(ds: Dataset, other: str) -> None:
    """Unite another Ref with that of a dataset, without a word about values that differ; move the dataset there."""
    store = ds.space.store
    target = resolve_ref(store, other)

    def build(parent: Manifest, tip: Address, batch: Batch) -> Change:
        base = merge_base(store, tip, target)
        known = None if base is None else load_manifest(store, base)
        parting = Parting(parent, load_manifest(store, target), known, OURS)
        return union_change(store, batch, parting, [target], time.time_ns())

    commit(store, ds.ref_name(), build)
    ds.refresh()
