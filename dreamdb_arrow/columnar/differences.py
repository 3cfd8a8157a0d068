"""Differences: which values of two columns are not the same, whatever their type. Spec 0021."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Flags = np.ndarray[Any, np.dtype[np.bool_]]


def differing(ours: pa.Array, theirs: pa.Array) -> Flags:
    """Return bool (n,): where two arrays of one type differ; a null differs from a value, and not from a null.

    Numbers are compared bit by bit, so that `-0.0` is not `0.0`; lists and structs are compared through and through.
    """
    assert len(ours) == len(theirs)
    assert ours.type.equals(theirs.type)
    there = present(ours)
    unlike: Flags = there != present(theirs)
    both = np.flatnonzero(there & ~unlike)
    at = pa.array(both)
    unlike[both] = _values_differ(ours.take(at), theirs.take(at))
    return unlike


def present(values: pa.Array) -> Flags:
    """Return bool (n,): where there is a value."""
    return np.asarray(values.is_valid())


def _values_differ(ours: pa.Array, theirs: pa.Array) -> Flags:
    """Compare arrays without nulls at their top."""
    kind = ours.type
    if pa.types.is_struct(kind):
        members = [differing(a, b) for a, b in zip(ours.flatten(), theirs.flatten(), strict=True)]
        return np.asarray(np.logical_or.reduce(members))
    if pa.types.is_fixed_size_list(kind):
        found = differing(ours.flatten(), theirs.flatten())
        return np.asarray(found.reshape(len(ours), kind.list_size).any(axis=1))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists_differ(ours, theirs)
    if pa.types.is_floating(kind):
        width = np.dtype(kind.to_pandas_dtype()).itemsize
        return np.asarray(np.asarray(ours).view(f"u{width}") != np.asarray(theirs).view(f"u{width}"))
    return np.asarray(pc.not_equal(ours, theirs))


def _lists_differ(ours: pa.Array, theirs: pa.Array) -> Flags:
    lengths = np.asarray(ours.value_lengths())
    unlike = np.asarray(lengths != np.asarray(theirs.value_lengths()))
    alike = np.flatnonzero(~unlike)
    at = pa.array(alike)
    members = differing(ours.take(at).flatten(), theirs.take(at).flatten())
    counts = np.concatenate([[0], np.cumsum(members)])
    stops = np.cumsum(lengths[alike])
    unlike[alike] = counts[stops] > counts[stops - lengths[alike]]
    return unlike
