"""Hot rows: what waits beside a Track, read as if it lay there already. Spec 0016.

Scalars wait under a Track of their own, the overlay, that names the shard and the Track below. Vectors wait beside
their Track, which knows nothing of it: the registry names their shard.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.objects.hot_shard import HotShard, decode_hot_shard, scalars_of, vectors_of
from dreamdb_arrow.objects.scalar_values import Values, value_type_of
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map
from dreamdb_arrow.objects.track import Track, decode_track
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch
from dreamdb_arrow.tracks.btree import HOT_FORM
from dreamdb_arrow.tracks.layout import VISIBLE_ANCHOR_MAX, track_directory
from dreamdb_arrow.tracks.scalars import ScalarColumn, read_scalars
from dreamdb_arrow.tracks.vectors import Vectors

_OVERLAY_KEYS: Final = frozenset({"form", "hot_shard", "base_track"})


def is_overlay(track: Track) -> bool:
    """Whether a Track of scalars has hot rows over another Track."""
    return isinstance(track.object_index, dict) and track.object_index.get("form") == HOT_FORM


def read_hot_scalars(
    store: Store, track: Track, value_type: str, *, known: frozenset[Address] = frozenset()
) -> ScalarColumn:
    """Return the column of a scalar Track with its hot rows, if it has any; else do as read_scalars does."""
    if not is_overlay(track):
        return read_scalars(store, track, value_type, known=known)
    base, shard = _below(store, track, value_type)
    cold = read_scalars(store, base, value_type, known=known)
    return _join(cold, _as_int64(shard.anchors), scalars_of(shard), value_type)  # 0016-R1


def overlay_of(track: Track) -> tuple[Address, Address]:
    """Return the addresses of the shard and of the Track below that an overlay names. Raises LayoutError."""
    fields = expect_closed_map(track.object_index, "overlay", _OVERLAY_KEYS)
    return (
        expect_address(fields["hot_shard"], "hot_shard of an overlay"),
        expect_address(fields["base_track"], "base_track of an overlay"),
    )


def base_of(store: Store, track: Track) -> Track:
    """Return the Track below an overlay; a Track that is none, itself. Raises CorruptDataError."""
    if not is_overlay(track):
        return track
    _, address = overlay_of(track)
    path = f"{track_directory(track.timeline, track.modality)}/{address}"
    base = decode_track(fetch(store, path, address))
    if (base.modality, base.timeline) != (track.modality, track.timeline) or is_overlay(base):  # 0001-R9
        raise LayoutError(
            f"the Track below an overlay of {track.modality} is of another field, or hot itself"
        )
    return base


def fold_hot(
    store: Store, overlay: Track, value_type: str, anchors: NDArray[np.int64], values: Any
) -> tuple[Track, NDArray[np.int64], Any]:
    """Return the Track below an overlay, and all rows to write into it: the hot ones and, after them, these.

    Args:
        store: where the objects are.
        overlay: a Track of scalars with hot rows.
        value_type: of the field.
        anchors: int64 (n,), of new rows.
        values: n values: an array, or for text a list of str.

    Raises CorruptDataError.
    """
    base, shard = _below(store, overlay, value_type)
    return base, np.concatenate([_as_int64(shard.anchors), anchors]), _both(scalars_of(shard), values)


def read_hot_shard(store: Store, track: Track, address: Address) -> HotShard:
    """Fetch and decode a shard of the field that a Track is of. Raises CorruptDataError."""
    path = f"{track.timeline}/{track.modality}/hot-shard/{address}"
    return decode_hot_shard(fetch(store, path, address))


def with_hot_vectors(store: Store, track: Track, address: Address, cold: Vectors, dim: int) -> Vectors:
    """Return rows of a Track and of the shard of this address beside it, by anchor, each anchor once.

    Of several hot vectors at one anchor the last counts; one that is in the Track goes before all of them.
    """
    shard = read_hot_shard(store, track, address)
    hot, vectors = _as_int64(shard.anchors), vectors_of(shard, dim)
    seen = hot <= VISIBLE_ANCHOR_MAX
    # The sort is stable, and the last of each anchor is kept: cold ones come last.
    anchors = np.concatenate([hot[seen], cold.anchors])
    joined = np.concatenate([vectors[seen], cold.vectors])
    order = np.argsort(anchors, kind="stable")
    last = _last_of_each(anchors[order])
    return Vectors(anchors[order[last]], joined[order[last]])  # 0016-R1


def _below(store: Store, track: Track, value_type: str) -> tuple[Track, HotShard]:
    base = base_of(store, track)
    shard = read_hot_shard(store, track, overlay_of(track)[0])
    if shard.value_type != value_type:
        raise LayoutError(f"a hot shard of {track.modality} holds values of type {shard.value_type!r}")
    return base, shard


def _as_int64(anchors: tuple[int, ...]) -> NDArray[np.int64]:
    """Return anchors as int64 (n,); those that nobody can see as the largest number there is."""
    unsigned = np.array(anchors, np.uint64)
    return np.minimum(unsigned, np.uint64(VISIBLE_ANCHOR_MAX + 1)).astype(np.int64)


def _join(cold: ScalarColumn, anchors: NDArray[np.int64], values: Values, value_type: str) -> ScalarColumn:
    """Return one column of both; of two values at one anchor the larger."""
    seen = np.flatnonzero(anchors <= VISIBLE_ANCHOR_MAX)
    distinct, codes = value_type_of(value_type).distinct(_both(cold.values, values))
    size = len(cold.values)
    joined = np.concatenate([cold.anchors, anchors[seen]])
    joined_codes = np.concatenate([codes[:size][cold.codes], codes[size:][seen]])
    order = np.lexsort((joined_codes, joined))
    last = _last_of_each(joined[order])  # 0001-R17
    return ScalarColumn(joined[order[last]], joined_codes[order[last]], distinct)


def _both(first: Values, second: Values) -> Any:
    if isinstance(first, list) or isinstance(second, list):
        return [*first, *second]
    return np.concatenate([first, second])


def _last_of_each(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of n ascending numbers are the last of their kind, bool (n,)."""
    last: NDArray[np.bool_] = np.r_[ordered[1:] != ordered[:-1], True][: len(ordered)]
    return last
