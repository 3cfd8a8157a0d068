"""Ancestry: the versions behind a version. Spec 0008."""

from __future__ import annotations

from collections.abc import Iterator

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.history.manifests import load_manifest
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.store.interface import Store


def first_parents(store: Store, tip: Address) -> Iterator[tuple[Address, Manifest]]:
    """Yield a version and its ancestors by first parents, newest first, as far as they have not been collected."""
    address: Address | None = tip
    while address is not None:
        try:
            manifest = load_manifest(store, address)
        except ObjectNotFoundError:
            if address == tip:
                raise
            return  # 0008-R3
        yield address, manifest
        address = manifest.parents[0] if manifest.parents else None
