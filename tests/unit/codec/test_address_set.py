"""Compact sets of addresses say what Python's sets say."""

import random
import tracemalloc

from dreamdb_arrow.codec.address import Address, address_of
from dreamdb_arrow.codec.address_set import AddressSet


def test_it_holds_what_was_added_and_nothing_else():
    addresses = [address_of(b"%d" % n) for n in range(2000)]
    ours, wanted = AddressSet(addresses[::2]), set(addresses[::2])
    ours.update(addresses[:10])
    wanted |= set(addresses[:10])
    assert len(ours) == len(wanted)
    assert set(ours) == wanted
    assert [each in ours for each in addresses] == [each in wanted for each in addresses]


def test_two_side_by_side_make_no_third():
    """Only where an address begins counts: bytes across two of them are none."""
    head, rest = b"\x1eab", bytes(30)
    one, other = Address(head + rest), Address(head + b"\1" * 30)
    found = AddressSet([one, other])
    assert Address(head + bytes(15) + b"\1" * 15) not in found
    shifted = Address(head + bytes(29) + b"\1")
    assert shifted not in found
    found.add(shifted)
    assert len(found) == 3
    assert other in found
    assert shifted in found


def test_what_is_on_top_of_another_set_leaves_it_as_it_is():
    base = AddressSet([address_of(b"a")])
    top = AddressSet([address_of(b"b"), address_of(b"a")], base=base)
    assert (len(top), len(base)) == (1, 1)
    assert address_of(b"a") in top
    assert address_of(b"b") not in base


def test_a_million_take_less_than_sixty_megabytes():
    drawn = random.Random(7)
    tracemalloc.start()
    found = AddressSet(b"\x1e" + drawn.randbytes(32) for _ in range(200_000))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 200_000
    assert taken < 25 << 20  # heads and buffers are 14 MB of that, however many there are
