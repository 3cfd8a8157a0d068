"""Manifests in a store: where they lie, how they are fetched. Spec 0008."""

from __future__ import annotations

from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.objects.manifest import Manifest, decode_manifest
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch

MANIFESTS: Final = "manifests"


def manifest_path(address: Address) -> str:
    """Return the path of a Manifest."""
    return f"{MANIFESTS}/{address}"


def load_manifest(store: Store, address: Address) -> Manifest:
    """Fetch, verify and decode a Manifest. Raises ObjectNotFoundError, naming it as a version."""
    try:
        data = fetch(store, manifest_path(address), address)
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(error.path, "no such version in this space") from None
    return decode_manifest(data)
