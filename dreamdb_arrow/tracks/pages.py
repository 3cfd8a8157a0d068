"""Indexes of media and spatial Tracks: inline, or a tree of pages; and the walk down any page tree. Spec 0007.

    walk_tree                      the leaves of a tree, each page verified, its counts checked
    read_index, build_index        entries as columns

A page that is listed twice is read once: what it holds is already there. So however a tree folds back on itself, a walk
costs no more than the pages there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeVar

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import LayoutError, UnsupportedError
from dreamdb_arrow.objects.index_entries import (
    CELLS,
    MEDIA,
    EntryShape,
    IndexEntries,
    entries_of_lists,
    join_index_entries,
)
from dreamdb_arrow.objects.index_page import IndexChild, IndexLeaf, IndexNode, decode_index_page
from dreamdb_arrow.objects.shape import expect_address, expect_closed_map, expect_map, expect_uint
from dreamdb_arrow.objects.track import Track
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.store.verified import fetch_many
from dreamdb_arrow.tracks.filling import cut_by_number
from dreamdb_arrow.tracks.index_pages import IndexWriter
from dreamdb_arrow.tracks.layout import index_directory, paths_in

FORM: Final = "paged"
HEIGHT_MAX: Final = 32
_FETCHED_TOGETHER: Final = 256
_KEYS: Final = frozenset({"form", "root", "fanout", "page_count", "total_items", "tree_height"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tree:
    """What a Track says of its page tree: the root, the levels, and how many pages and entries there are."""

    root: Address
    height: int
    pages: int
    items: int


def walk_tree(
    store: Store,
    directory: str,
    tree: Tree,
    decode: Callable[[list[bytes]], Sequence[Any]],
    check: Callable[[Any, int, Any], int],
    pick: Callable[[Any], Sequence[Any]] = attrgetter("children"),
) -> Iterator[Any]:
    """Yield the decoded leaves of a page tree from left to right, each once.

    Args:
        store: where the pages are.
        directory: where in it.
        tree: what the Track says.
        decode: pages of one level -> of each the leaf, or a node with `children` that have an `address`.
        check: page, its height above the leaves, what its parent says of it -> its entries; raises LayoutError.
        pick: page above the leaves -> those of its children that are wanted. The counts of the Track are then as the
            pages that are read say.

    Raises:
        CorruptDataError: a page is not its address's, malformed, or not what its parent says.
        LayoutError: at the end, when the counts of the Track are wrong.
    """
    level: dict[Address, int] = {tree.root: 1}  # how often each page is listed
    claims: dict[Address, Any] = {}
    pages = items = left_out = 0
    for height in range(tree.height - 1, -1, -1):
        pages += sum(level.values())
        below: dict[Address, int] = {}
        for address, page in _fetch_pages(store, directory, level, decode):
            count = check(page, height, claims.get(address))
            if height:
                picked = pick(page)
                left_out += level[address] * (len(page.children) - len(picked))
                for child in picked:
                    below[child.address] = below.get(child.address, 0) + level[address]
                    claims[child.address] = child
            else:
                items += level[address] * count
                yield page
        level = below
    if not left_out and (pages != tree.pages or items != tree.items):  # 0007-R4, 0011-R11
        raise LayoutError(f"an index of {items} entries in {pages} pages says {tree.items} in {tree.pages}")


def read_tree(found: dict[str, Any], items_key: str) -> Tree:
    """Return what the map in a Track says of its page tree. Raises LayoutError."""
    tree = Tree(
        root=expect_address(found["root"], "root of an index"),
        height=expect_uint(found["tree_height"], "tree_height of an index"),
        pages=expect_uint(found["page_count"], "page_count of an index"),
        items=expect_uint(found[items_key], f"{items_key} of an index"),
    )
    if not 1 <= tree.height <= HEIGHT_MAX:  # 0007-R4
        raise LayoutError(f"an index cannot have {tree.height} levels")
    return tree


def _fetch_pages(
    store: Store, directory: str, addresses: dict[Address, int], decode: Callable[[list[bytes]], Sequence[T]]
) -> Iterator[tuple[Address, T]]:
    pending = iter(addresses)
    while group := list(islice(pending, _FETCHED_TOGETHER)):
        fetched = fetch_many(store, paths_in(directory, group))
        yield from zip(group, decode(fetched), strict=True)


# --- reading ------------------------------------------------------------------------------------------------


def shape_of(modality: str) -> EntryShape:
    """Return the shape of index entries in Tracks of this modality."""
    return CELLS if modality.startswith("embedding.") else MEDIA


def iterate_index(store: Store, track: Track, near: tuple[int, int] | None = None) -> Iterator[IndexEntries]:
    """Yield the entries of a media or spatial Track, a page at a time; times are absolute.

    With `near`, of a Track of media: those pages that may hold an entry which meets [t0, t1), and that into which one
    of these times would go; no others are read.

    Raises CorruptDataError for anything that is not such an index, UnsupportedError for an unknown form.
    """
    shape = shape_of(track.modality)
    if not isinstance(track.object_index, dict):
        yield entries_of_lists(shape, track.object_index)
        return
    tree = paged_tree(track)
    directory = index_directory(track.timeline, track.modality)

    def decode(pages: list[bytes]) -> list[IndexLeaf | IndexNode]:
        return [decode_index_page(data, shape, track.modality) for data in pages]

    pick = attrgetter("children") if near is None else partial(_near, near)
    for leaf in walk_tree(store, directory, tree, decode, check_index_page, pick):
        yield leaf.entries


def _near(span: tuple[int, int], page: IndexNode) -> list[IndexChild]:
    """Return the children that hold entries near a range of times: those that meet it, and the last before its end."""
    before = [child for child in page.children if child.t_min < span[1]] or [page.children[0]]
    return [child for child in before if child.t_max > span[0] or child is before[-1]]


def paged_tree(track: Track) -> Tree:
    """Return the page tree of a media or spatial Track whose index is a map.

    Raises LayoutError, UnsupportedError for an unknown form.
    """
    found = expect_map(track.object_index, "index")
    if found.get("form") != FORM:
        raise UnsupportedError(f"an index of form {found.get('form')!r:.80} cannot be read yet")
    return read_tree(expect_closed_map(found, "index", _KEYS), "total_items")


def read_index(store: Store, track: Track) -> IndexEntries:
    """Return all entries of a media or spatial Track, in order. Raises as iterate_index does."""
    return join_index_entries(shape_of(track.modality), list(iterate_index(store, track)))


def check_index_page(page: IndexLeaf | IndexNode, height: int, claim: IndexChild | None) -> int:
    """Return how many entries lie in or below a page of this height; raises LayoutError if its parent says otherwise."""
    if isinstance(page, IndexNode) != (height > 0):
        raise LayoutError("an index has leaves at several levels")
    count = len(page.entries) if isinstance(page, IndexLeaf) else sum(c.items for c in page.children)
    if claim is not None and claim.items != count:  # 0007-R4
        raise LayoutError(f"an index page has {count} entries below it, its parent says {claim.items}")
    return count


# --- writing ------------------------------------------------------------------------------------------------


def build_index(batch: Batch, timeline: Address, modality: str, entries: IndexEntries) -> dict[str, Any]:
    """Add the pages of an index to the batch and return the map that stands for it in the Track.

    `entries` are in order, media by time and cells by key, and there is at least one.
    """
    writer = IndexWriter(batch, timeline, modality)
    children, height = writer.add_leaves(entries, grows=True), 1
    while len(children) > 1:
        children, height = writer.add_nodes(children, grows=False), height + 1
    counts = {"page_count": writer.added, "total_items": len(entries), "tree_height": height}  # 0007-R4
    return {"form": FORM, "root": children[0].address, "fanout": writer.fanout, **counts}


def split_evenly(items: list[T], count: int) -> list[list[T]]:
    """Share items out among `count` parts, whose lengths differ by one at most, the longer ones first."""
    return [items[start:stop] for start, stop in cut_by_number(len(items), count)]
