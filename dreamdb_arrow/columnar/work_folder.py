"""Work folders: where a long job in the local cache keeps what it has done, so that a rerun goes on from there. Spec 0021.

What is in one is whole or not there: a value is written beside its place and moved. Nothing but speed depends on it, as a
job can always begin again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import ConflictError, CorruptDataError
from dreamdb_arrow.store.files import sync_path, temporary_name

_LOCK = "lock"
_SUFFIX = ".cbor"


class WorkFolder:
    """A folder of named values, each of what CBOR can say, and of files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have the folder to oneself; a killed process lets go of it. Raises ConflictError when another one has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConflictError(
                f"another process is at this job (its state is in {self.path}); wait for it"
            ) from None
        try:
            yield
        finally:
            os.close(fd)

    def read(self, name: str) -> Any:
        """Return the value of this name, or None when there is none that is whole."""
        try:
            return decode_cbor((self.path / f"{name}{_SUFFIX}").read_bytes())
        except (FileNotFoundError, CorruptDataError):
            return None

    def write(self, name: str, value: Any) -> None:
        """Keep a value, which is on the disk when this returns; what files were synced before are there, too."""
        beside = self.path / temporary_name()
        beside.write_bytes(encode_cbor(value))
        sync_path(str(beside))
        beside.replace(self.path / f"{name}{_SUFFIX}")
        sync_path(str(self.path))

    def fresh(self, name: str) -> Path:
        """Return a folder of this name, in which there is nothing."""
        self.drop(name)
        (self.path / name).mkdir(parents=True)
        return self.path / name

    def drop(self, name: str) -> None:
        """Remove the folder of this name, if it is there."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def clear(self, *kept: str) -> None:
        """Remove everything but the values of these names."""
        stay = {_LOCK, *(f"{name}{_SUFFIX}" for name in kept)}
        for found in self.path.iterdir() if self.path.is_dir() else ():
            if found.is_dir():
                self.drop(found.name)
            elif found.name not in stay:
                found.unlink(missing_ok=True)
