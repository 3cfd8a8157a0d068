"""Fields that rows may be appended to, and those that only the reference SDK can add to. Specs 0014 and 0017."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dreamdb_arrow.codec.address import Address, as_address
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import read_track
from dreamdb_arrow.dataset.spatial import load_spatial_index
from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.objects.manifest import Manifest
from dreamdb_arrow.objects.schema import SCHEMA_KEY, SPECS_VERSION, Field
from dreamdb_arrow.objects.shape import expect_list
from dreamdb_arrow.objects.spatial_index import SpatialIndex
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.interface import Store


def check_appendable(store: Store, parent: Manifest, fields: Iterable[Field]) -> None:
    """Raise UnsupportedError, with the way out, when one of these fields cannot be appended to.

    An append asks before it writes a stripe: a flush could never bring such rows into the Track.
    """
    for f in fields:
        entry = row_entry(parent, f.name)
        if entry is None:
            continue
        if f.kind == "video":
            check_plain_media(f, read_track(store, entry))
        elif f.kind == "embedding":
            spatial = parent.registry.get(entry.modality, {})
            check_cells(f, entry.modality, spatial)
            if parent.registry[SCHEMA_KEY].get("v") == SPECS_VERSION:
                check_unbound(f, load_spatial_index(store, index_address(f, spatial)))


def check_plain_media(f: Field, track: Track) -> None:
    """Refuse CMAF fragments, which need boxes that fit the init segment."""
    if track.init_segment is not None:
        raise UnsupportedError(
            f"field {f.name!r} holds CMAF fragments; add to it with ingest_cmaf of the reference SDK"
        )


def check_cells(f: Field, modality: str, spatial: Mapping[str, Any]) -> None:
    """Refuse graphs, which have nodes and no cells."""
    if "spatial_index" not in spatial:
        raise UnsupportedError(
            f"field {f.name!r} is no field of cells ({modality}); append to it with the reference SDK"
        )


def check_unbound(f: Field, index: SpatialIndex) -> None:
    """Refuse fields whose vectors must say which model made them."""
    if index.spec is not None:
        raise UnsupportedError(
            f"field {f.name!r} is bound to embedding spec {index.spec}; append to it with the reference SDK"
        )


def index_address(f: Field, spatial: Mapping[str, Any]) -> Address:
    """Return which SpatialIndex new cells of a field follow."""
    return as_address(expect_list(spatial.get("spatial_index"), f"spatial_index of {f.name!r}")[0])
