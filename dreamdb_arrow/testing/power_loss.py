"""Power cuts: what may lie on a disk when the power fails in the middle of what a DiskLog took down. Spec 0005.

    for policy in POLICIES:
        write_folder(crash_state(log, 17, policy), folder)

POSIX promises little, and nothing more is taken for granted: what was written to a file is there once that file was synced, a
name is there, or gone, once its directory was synced, and each of the rest may be there or not, whatever came after it. A
write may have been torn, or have left a length and no bytes. What lies in a directory is lost with the directory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dreamdb_arrow.testing.disk_log import (
    DIRECTORY,
    DiskLog,
    Entry,
    Event,
    Resize,
    Said,
    SyncDirectory,
    SyncFile,
    Write,
)

SECTOR_BYTES: Final = 512  # what a disk writes whole

Folder = Mapping[str, bytes | None]  # files by path, and None for directories


def said_before(log: DiskLog, at: int) -> int:
    """Return how often something was acknowledged among the first `at` events."""
    return sum(isinstance(event, Said) for event in log.events[:at])


def latest(log: DiskLog) -> Folder:
    """Return what lies there without a power cut."""
    return crash_state(log, len(log.events), "kept")


def crash_state(log: DiskLog, at: int, policy: str) -> Folder:
    """Return what may lie there when the power fails after `at` events; the policy is a key of POLICIES. Always the same."""
    choose, chance = POLICIES[policy], random.Random(f"{at} {policy}")  # noqa: S311 - to be repeated
    names = _names(log, at)
    contents: dict[int, bytes] = {}
    found: dict[str, bytes | None] = {}
    for path in sorted(names):  # directories before what lies in them
        holds = choose.entry(names[path], chance)
        if holds is None or not _has_parent(path, found):
            continue
        if holds == DIRECTORY:
            found[path] = None
            continue
        if holds not in contents:  # the same for all names of one file
            contents[holds] = _content(log, holds, at, chance, choose)
        found[path] = contents[holds]
    return found


def write_folder(state: Folder, folder: Path) -> None:
    """Write a state into a folder that is empty or missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in state.items():  # directories first, as crash_state has them
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def _has_parent(path: str, found: Mapping[str, bytes | None]) -> bool:
    parent = path.rpartition("/")[0]
    return not parent or (parent in found and found[parent] is None)


def _names(log: DiskLog, at: int) -> dict[str, list[int | None]]:
    """Return what each name may stand for: what it stood for when its directory was synced last, and all it did since."""
    names: dict[str, list[int | None]] = {path: [holds] for path, holds in log.entries.items()}
    for event in log.events[:at]:
        if isinstance(event, Entry):
            names.setdefault(event.path, [None]).append(event.holds)
        elif isinstance(event, SyncDirectory):
            for path in _inside(names, event.path):
                names[path] = names[path][-1:]
    return names


def _inside(names: Mapping[str, list[int | None]], directory: str) -> list[str]:
    return [path for path in names if (path.rpartition("/")[0] or ".") == directory]


def _content(log: DiskLog, file: int, at: int, chance: random.Random, choose: Policy) -> bytes:
    own = [event for event in log.events[:at] if _is_of(event, file)]
    synced = max((i + 1 for i, event in enumerate(own) if isinstance(event, SyncFile)), default=0)
    data = bytearray(log.contents.get(file, b""))
    for event in own[:synced]:
        _apply(data, event)
    for event in own[synced:]:
        choose.change(data, event, chance)
    return bytes(data)


def _is_of(event: Event, file: int) -> bool:
    return isinstance(event, Write | Resize | SyncFile) and event.file == file


def _apply(data: bytearray, event: Event) -> None:
    if isinstance(event, Write):
        end = event.start + len(event.data)
        data.extend(bytes(max(0, end - len(data))))
        data[event.start : end] = event.data
    elif isinstance(event, Resize):
        del data[event.length :]
        data.extend(bytes(event.length - len(data)))


# ---------------------------------------------------------------- policies


@dataclass(frozen=True, slots=True)
class Policy:
    """Of what was not synced: which of the things that a name may stand for it does, and what becomes of a change of a file."""

    entry: Callable[[list[int | None], random.Random], int | None]
    change: Callable[[bytearray, Event, random.Random], object]


def _tear(data: bytearray, event: Event, chance: random.Random) -> None:
    """Apply a change, or part of it, or only the length that it gives, or nothing."""
    if not isinstance(event, Write):
        return _apply(data, event) if chance.random() < 0.5 else None
    cut = chance.randint(0, len(event.data)) // SECTOR_BYTES * SECTOR_BYTES
    kept = chance.choice(
        (b"", event.data[:cut], bytes(len(event.data)), event.data, _holed(event.data, chance))
    )
    return _apply(data, Write(event.file, event.start, kept))


def _holed(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a sector of zeros somewhere."""
    start = chance.randint(0, len(data)) // SECTOR_BYTES * SECTOR_BYTES
    hole = data[start : start + SECTOR_BYTES]
    return data[:start] + bytes(len(hole)) + data[start + len(hole) :]


POLICIES: Final[Mapping[str, Policy]] = MappingProxyType(
    {
        "lost": Policy(lambda held, _: held[0], lambda *_: None),  # nothing that was not synced is there
        "kept": Policy(lambda held, _: held[-1], lambda data, event, _: _apply(data, event)),  # all of it is
        "names": Policy(lambda held, _: held[-1], lambda *_: None),  # all names, and no bytes
        "torn": Policy(lambda held, chance: chance.choice(held), _tear),  # some of it, and some in part
    }
)
