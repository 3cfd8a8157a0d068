"""Units: which neighbouring stripes a compaction puts together. Spec 0021.

A stripe weighs what it fills of the largest one that is wanted. Neighbours are gathered up to one; what fills half of it
stays as it is. So a second compaction finds nothing to do, and a large stripe is not written anew for a small neighbour.
Stripes that overlap in time come together whatever they weigh.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.overlaps import overlapping
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.vectors import I64

FULL: Final = 0.5  # of the weight of a stripe: no neighbour is added to what fills so much of one
END: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Unit:
    """Stripes whose rows, with those of Tracks in [low, high), are written anew as `parts` stripes."""

    stripes: tuple[Stripe, ...]
    low: int
    high: int
    parts: int


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Stripes that overlap one another, with their weight, and whether they must be written anew."""

    stripes: tuple[Stripe, ...]
    low: int
    high: int
    weight: float
    due: bool


def plan_units(
    stripes: Sequence[Stripe],
    weights: Mapping[Address, float],
    due: Collection[Address],
    extra: I64,
    extra_weight: float,
) -> list[Unit]:
    """Return what is to be written anew, in the order of anchors; nothing when all is well.

    Args:
        stripes: all that may be put together, by first anchor.
        weights: of each, 1 being the largest stripe that is wanted.
        due: those that must be written anew even if no neighbour joins them.
        extra: the anchors, ascending, of rows and values that are in no stripe yet.
        extra_weight: of one of them.
    """
    clusters = _clusters(stripes, weights, due, extra, extra_weight)
    units = []
    for group in _gathered(clusters):
        if len(group) > 1 or group[0].due:
            weight = sum(cluster.weight for cluster in group)
            members = tuple(s for cluster in group for s in cluster.stripes)
            units.append(Unit(members, group[0].low, group[-1].high, max(1, math.ceil(weight))))
    return units


def _clusters(
    stripes: Sequence[Stripe],
    weights: Mapping[Address, float],
    due: Collection[Address],
    extra: I64,
    extra_weight: float,
) -> list[_Cluster]:
    """Return the stripes by what overlaps; each cluster owns all anchors up to the next."""
    found = list(overlapping(stripes)) or ([[]] if len(extra) else [])
    bounds = [0, *(group[0].t0 for group in found[1:]), END]
    clusters = []
    for group, (low, high) in zip(found, pairwise(bounds), strict=False):
        more = int(np.diff(np.searchsorted(extra, [low, high]))[0])
        weight = sum(weights[s.address] for s in group) + more * extra_weight
        must = len(group) > 1 or more > 0 or any(s.address in due for s in group)
        clusters.append(_Cluster(tuple(group), low, high, weight, must))
    return clusters


def _gathered(clusters: Sequence[_Cluster]) -> Iterator[list[_Cluster]]:
    """Yield neighbours that together weigh at most one."""
    group: list[_Cluster] = []
    for cluster in clusters:
        full = cluster.weight >= FULL
        if group and (full or sum(c.weight for c in group) + cluster.weight > 1):
            yield group
            group = []
        group.append(cluster)
        if full:
            yield group
            group = []
    if group:
        yield group
