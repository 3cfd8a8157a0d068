"""Apart: stripes that overlap in time and share no anchor, remembered pair by pair. Spec 0021.

Late data leave stripes that overlap for good. Whether two of them share an anchor never changes, so it is found out once and
kept in the local cache: a version with one stripe more costs one comparison more. Who appends knows it without looking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.columnar.cache import LocalCache
from dreamdb_arrow.columnar.rowset import Stripe
from dreamdb_arrow.columnar.vectors import I64
from dreamdb_arrow.columnar.vendor import Fragment, VendorTrack


def are_apart(cache: LocalCache, group: Sequence[Stripe], anchors: Callable[[Stripe], I64]) -> bool:
    """Whether no two stripes of a group share an anchor; compares those pairs that are not known yet.

    Args:
        cache: where it is remembered.
        group: stripes by first anchor.
        anchors: returns those of a stripe, ascending.
    """
    held: dict[Address, I64] = {}

    def look(stripe: Stripe) -> I64:
        if stripe.address not in held:
            held[stripe.address] = anchors(stripe)
        return held[stripe.address]

    for nth, later in enumerate(group):
        unknown = _unknown(cache, later, [s for s in group[:nth] if s.meets(later.t0, later.t1)])
        if any(_share(look(later), look(s)) for s in unknown):
            return False
        remember_apart(cache, later.address, (s.address for s in unknown))
    return True


def remember_apart(cache: LocalCache, stripe: Address, others: Iterable[Address]) -> None:
    """Remember that a stripe shares no anchor with some others."""
    new = frozenset(others)
    if new:
        known = cache.apart[stripe] = _known(cache, stripe) | new
        cache.write_note(_key(stripe), encode_cbor(b"".join(sorted(known))))


def remember_new(cache: LocalCache, track: VendorTrack, new: Fragment) -> None:
    """Remember of a new stripe, whose anchors are not taken in a version, that it shares none with any stripe of it."""
    entry = track.entry
    if entry is not None and entry.coverage[0] < new.t1 and new.t0 < entry.coverage[1]:
        held = track.fragments(near=(new.t0, new.t1))
        remember_apart(cache, new.address, (f.address for f in held if f.t0 < new.t1 and new.t0 < f.t1))


def _unknown(cache: LocalCache, stripe: Stripe, others: Sequence[Stripe]) -> list[Stripe]:
    known = _known(cache, stripe.address) if others else frozenset()
    return [s for s in others if s.address not in known and stripe.address not in _known(cache, s.address)]


def _known(cache: LocalCache, stripe: Address) -> frozenset[Address]:
    known = cache.apart.get(stripe)
    if known is None:
        note = cache.read_note(_key(stripe))
        joined: bytes = b"" if note is None else decode_cbor(note)
        names = (joined[at : at + len(stripe)] for at in range(0, len(joined), len(stripe)))
        known = cache.apart[stripe] = frozenset(map(Address, names))
    return known


def _key(stripe: Address) -> str:
    return f"apart/{stripe}"


def _share(one: I64, other: I64) -> bool:
    """Whether two ascending arrays have a number in common."""
    low, high = np.searchsorted(other, [one[0], one[-1] + 1]) if len(one) else (0, 0)
    part = other[low:high]
    if len(part) == 0:
        return False
    at = np.minimum(np.searchsorted(one, part), len(one) - 1)
    return bool((one[at] == part).any())
