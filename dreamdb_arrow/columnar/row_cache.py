"""Row cache: row groups of stripes decoded once, so that a single row costs no decoding. Spec 0021.

A decoded row group is an Arrow table. A small one stays in memory. A large one is written into the local cache as an
Arrow IPC file, not compressed, and mapped: the next process maps it too. Such a file is named by the stripe's address, the row
group and the part of its columns; behind the Arrow bytes comes their address, by which it is checked when it is mapped.
Arrays, which may be large, are a part of their own each; all other columns are one.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dreamdb_arrow.codec.address import ADDRESS_BYTES, Address, address_of
from dreamdb_arrow.columnar.stripe import ANCHOR, MEDIA_REF, anchors_of, open_stripe
from dreamdb_arrow.columnar.vectors import I64, check_ascending
from dreamdb_arrow.errors import LayoutError
from dreamdb_arrow.store import files
from dreamdb_arrow.store.forks import renew_in_child

GROUPS_MAX: Final = 4096  # row groups at hand, mapped or in memory
MEMORY_BYTES: Final = 64 << 20  # of those in memory, together
SMALL_BYTES: Final = 1 << 20  # from here on a row group is written to a file
DISK_BYTES: Final = 4 << 30  # of all files
FOOTERS_MAX: Final = 1 << 16
_FEW: Final = 32  # rows that are cut out one by one
_KEPT_SHARE: Final = 0.75  # of the bytes on disk, once there are too many

Locate: TypeAlias = Callable[[], Path]
Found: TypeAlias = tuple[pa.Table, I64]
Key: TypeAlias = tuple[Address, int, int]  # the stripe, the row group, the part of its columns


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of a stripe says of its g row groups.

    rows     how many rows there are
    firsts   int64 (g,), no larger than the anchors in the group
    lasts    int64 (g,), no smaller
    parts    the columns of a group that are kept together; `_anchor` is in the first
    """

    rows: int
    firsts: I64
    lasts: I64
    parts: tuple[tuple[str, ...], ...]

    def touched(self, wanted: I64) -> list[tuple[int, int, int]]:
        """Return which groups may hold one of these anchors, int64 (n,) ascending: (group, low, high) of `wanted`."""
        lows, highs = np.searchsorted(wanted, self.firsts), np.searchsorted(wanted, self.lasts, side="right")
        met = np.flatnonzero(highs > lows)
        return list(zip(met.tolist(), lows[met].tolist(), highs[met].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Group:
    """Some columns of a row group, and their anchors if `_anchor` is among them; `file` and its identity if it is mapped."""

    table: pa.Table
    anchors: I64
    file: str = ""
    identity: tuple[int, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether the mapped file is what it was."""
        return not self.file or _identity(self.file) == self.identity

    @property
    def memory(self) -> int:
        """The bytes in memory that go when this does."""
        return 0 if self.file else int(self.table.nbytes)


class RowCache:
    """Decoded row groups, in memory and below a folder. Safe to share between threads and processes.

    Args:
        folder: where the files lie; all of it may be deleted at any time.
        memory_bytes: how much the small groups may take together.
        disk_bytes: how much the files may take; those longest unused go first.
    """

    def __init__(
        self, folder: Path, *, memory_bytes: int = MEMORY_BYTES, disk_bytes: int = DISK_BYTES
    ) -> None:
        self._folder, self._memory_bytes, self._disk_bytes = folder, memory_bytes, disk_bytes
        self._groups: OrderedDict[Key, Group] = OrderedDict()
        self._footers: OrderedDict[Address, Footer] = OrderedDict()
        self._in_memory = 0
        self._on_disk: int | None = None  # not looked at yet
        self._lock = Lock()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Take a lock of its own."""
        self._lock = Lock()

    def forget(self) -> None:
        """Let go of what is in memory, and unmap what is mapped."""
        with self._lock:
            self._groups.clear()
            self._footers.clear()
            self._in_memory = 0

    def find(self, address: Address, locate: Locate, wanted: I64, columns: Iterable[str]) -> Iterator[Found]:
        """Yield the rows of a stripe that have one of these anchors, row group by row group.

        Args:
            address: the stripe's.
            locate: gives its verified file, if that has to be opened.
            wanted: int64 (n,), ascending; one that is there twice is found twice.
            columns: which columns to return, with `_anchor`; those that the stripe lacks are left out.

        Yields (table, at): rows with anchors wanted[at], row for row. Raises LayoutError.
        """
        asked, footer = {ANCHOR, *columns}, self.footer(address, locate)
        parts = [nth for nth, held in enumerate(footer.parts) if not asked.isdisjoint(held)]
        if len(wanted) <= _FEW and parts == [0]:
            yield from self._find_few(address, footer, locate, wanted, asked)
            return
        for nth, low, high in footer.touched(wanted):
            groups = [self._group((address, nth, part), footer.parts[part], locate) for part in parts]
            rows, at = _look_up(groups[0].anchors, wanted[low:high])
            if len(rows):
                yield _joined([g.table for g in groups], asked).take(pa.array(rows)), at + low

    def _find_few(
        self, address: Address, footer: Footer, locate: Locate, wanted: I64, columns: set[str]
    ) -> Iterator[Found]:
        """Do as find does, for few anchors and columns of the first part: a row is cut out in a third of the time of a `take`."""
        rows, at = [], []
        for nth, low, high in footer.touched(wanted):
            group = self._group((address, nth, 0), footer.parts[0], locate)
            for place, anchor in enumerate(wanted[low:high].tolist(), low):
                row = int(group.anchors.searchsorted(anchor))
                if row < len(group.anchors) and group.anchors[row] == anchor:
                    rows.append(group.table.slice(row, 1))
                    at.append(place)
        if rows:
            yield _joined([pa.concat_tables(rows)], columns), np.array(at)

    def footer(self, address: Address, locate: Locate) -> Footer:
        """Return the footer of a stripe; `locate` gives its verified file if that has to be opened. Raises LayoutError."""
        with self._lock:
            known = self._footers.get(address)
        if known is not None:
            return known
        found = read_footer(open_stripe(locate()))
        with self._lock:
            self._footers[address] = found
            while len(self._footers) > FOOTERS_MAX:
                self._footers.popitem(last=False)
        return found

    def _group(self, key: Key, columns: tuple[str, ...], locate: Locate) -> Group:
        with self._lock:
            known = self._groups.get(key)
            if known is not None:
                self._groups.move_to_end(key)
        if known is not None and known.is_current:
            return known
        address, nth, part = key
        file = str(self._folder / str(address)[-2:] / f"{address}-{nth}-{part}")
        found = _map_group(file) or self._keep(file, _decode_group(locate(), nth, columns))
        with self._lock:
            self._remember(key, found)
        return found

    def _remember(self, key: Key, group: Group) -> None:
        old = self._groups.pop(key, None)
        self._groups[key] = group
        self._in_memory += group.memory - (old.memory if old is not None else 0)
        while len(self._groups) > GROUPS_MAX or self._in_memory > self._memory_bytes:
            self._in_memory -= self._groups.popitem(last=False)[1].memory

    def _keep(self, file: str, table: pa.Table) -> Group:
        """Write a large table to a file and map it; a small one, or one that no file can be written of, stays in memory."""
        if SMALL_BYTES <= table.nbytes <= self._disk_bytes:
            body = _ipc_bytes(table)
            with suppress(OSError):  # a full disk or a folder that refuses costs speed, and nothing else
                _write_file(file, body)
                self._make_room(body.size + ADDRESS_BYTES)
                if (mapped := _map_group(file)) is not None:
                    return mapped
        return Group(table, _anchors(table))

    def _make_room(self, added: int) -> None:
        """Count what was written, and delete the files longest unused once there is too much."""
        with self._lock:
            self._on_disk = None if self._on_disk is None else self._on_disk + added
            if self._on_disk is not None and self._on_disk <= self._disk_bytes:
                return
            self._on_disk = _delete_oldest(self._folder, self._disk_bytes)


def _look_up(held: I64, wanted: I64) -> tuple[I64, I64]:
    """Return the rows in `held`, ascending, that have one of the wanted anchors, and which of `wanted` they have."""
    if len(held) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    at = np.flatnonzero(held[rows] == wanted)
    return rows[at], at


def _joined(tables: Sequence[pa.Table], columns: set[str]) -> pa.Table:
    """Return these columns of tables that have the same rows."""
    if len(tables) == 1:
        return tables[0].select([name for name in tables[0].column_names if name in columns])
    held = {name: table[name] for table in tables for name in table.column_names if name in columns}
    return pa.table(held)


def read_footer(file: pq.ParquetFile) -> Footer:
    """Return what a stripe's footer says; a group whose least and largest anchor are not told may hold any."""
    meta, schema = file.metadata, file.schema_arrow
    at = next(i for i in range(meta.num_columns) if meta.schema.column(i).path == ANCHOR)
    told = [meta.row_group(nth).column(at).statistics for nth in range(meta.num_row_groups)]
    bounds = [(s.min, s.max) if s is not None and s.has_min_max else (0, 2**63 - 1) for s in told]
    arrays = [f.name for f in schema if pa.types.is_nested(f.type) and not f.type.equals(MEDIA_REF)]
    rest = tuple(name for name in schema.names if name not in arrays)
    spans = np.array(bounds, np.int64).reshape(-1, 2)
    return Footer(meta.num_rows, spans[:, 0].copy(), spans[:, 1].copy(), (rest, *((a,) for a in arrays)))


def _decode_group(stripe: Path, nth: int, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = open_stripe(stripe).read_row_group(nth, columns=list(columns)).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise LayoutError(f"not a stripe: {stripe.name}: {str(error).splitlines()[0]}") from error
    if ANCHOR in columns:
        check_ascending(anchors_of(table), stripe.name)  # 0021-R4: a row is found by halving
    return table


def _ipc_bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _write_file(file: str, body: pa.Buffer) -> None:
    folder = Path(file).parent
    folder.mkdir(parents=True, exist_ok=True)
    made = str(folder / files.temporary_name())
    files.write_new(made, [body, address_of(body)], sync=False)
    Path(made).replace(file)


def _map_group(file: str) -> Group | None:
    """Map a file that is there and whole; None otherwise."""
    with suppress(OSError, pa.ArrowException):
        identity = _identity(file)
        if not identity:  # asked first: somebody may be about to write it
            return None
        with pa.memory_map(file) as mapped:
            size = mapped.size() - ADDRESS_BYTES
            held = mapped.read_buffer()
        body = held.slice(0, max(0, size))
        if size <= 0 or address_of(body) != held.slice(size).to_pybytes():
            return None
        table = pa.ipc.open_file(body).read_all()
        os.utime(file, ns=(time.time_ns(), identity[-1]))  # few systems note by themselves who reads
        return Group(table, _anchors(table), file, identity)
    return None


def _anchors(table: pa.Table) -> I64:
    return anchors_of(table) if ANCHOR in table.column_names else np.empty(0, np.int64)


def _identity(file: str) -> tuple[int, ...]:
    try:
        status = os.stat(file)  # noqa: PTH116 - asked for every group of every look-up
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _delete_oldest(folder: Path, limit: int) -> int:
    """Return the bytes of the files below a folder; if they are above the limit, after deleting those longest unused."""
    held = ((path, _stat(path)) for path in folder.glob("*/*"))
    found = [(status.st_atime_ns, status.st_size, path) for path, status in held if status is not None]
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return total
    for _, size, path in sorted(found):
        path.unlink(missing_ok=True)
        total -= size
        if total <= limit * _KEPT_SHARE:
            break
    return total


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
