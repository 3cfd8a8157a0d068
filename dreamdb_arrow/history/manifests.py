"""Manifests in a store: where they lie, how they are fetched. Spec 0008.

A Manifest is read and hashed whenever it is asked for, so that none is believed to be there that was damaged or collected.
What is remembered is what bytes decode to, which takes some fifteen times as long and depends on nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import ObjectNotFoundError
from dreamdb_arrow.objects.manifest import Manifest, decode_manifest
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch

MANIFESTS: Final = "manifests"
REMEMBERED: Final = 128
REMEMBERED_BYTES_MAX: Final = 64 << 10  # of one; decoded, it takes some ten times as much


def manifest_path(address: Address) -> str:
    """Return the path of a Manifest."""
    return f"{MANIFESTS}/{address}"


def load_manifest(store: Store, address: Address) -> Manifest:
    """Fetch, verify and decode a Manifest, which nobody may change. Raises ObjectNotFoundError, naming it as a version."""
    data = read_manifest(store, address)
    return decode_manifest(data) if len(data) > REMEMBERED_BYTES_MAX else _decode_remembered(data)


def read_manifest(store: Store, address: Address) -> bytes:
    """Fetch and verify a Manifest. Raises ObjectNotFoundError, naming it as a version."""
    try:
        return fetch(store, manifest_path(address), address)
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(error.path, "no such version in this space") from None


def hold_version(store: Store, address: Address) -> None:
    """Make the Manifest of a version young, so that no collector takes away what it leads to. Raises ObjectNotFoundError.

    Called before something comes to lead to a version, or to what it holds, that no Ref need lead to at this moment.
    """
    try:
        store.freshen([manifest_path(address)])  # 0008-R23
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(error.path, "no such version in this space") from None


@lru_cache(REMEMBERED)  # which is safe between threads, and holds no lock that a fork could leave behind
def _decode_remembered(data: bytes) -> Manifest:
    return decode_manifest(data)
