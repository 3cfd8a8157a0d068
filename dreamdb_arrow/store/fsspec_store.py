"""The store behind any other URL that fsspec opens, to be read only: archives, code hosts, file servers. Spec 0005.

    zip://::file:///data/space.zip        tar://, and zip://::https://host/space.zip
    github://owner:repository@tag/space   hf://datasets/owner/name/space, sftp://host/space ...

What these servers promise to two writers is not known, so nothing is written. Which packages a scheme needs, fsspec says.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn

import fsspec
from fsspec.core import url_to_fs

from dreamdb_arrow.codec.address import ADDRESS_BYTES, as_address
from dreamdb_arrow.errors import (
    CorruptDataError,
    DreamDBError,
    InvalidInputError,
    LayoutError,
    NotFoundError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedError,
)
from dreamdb_arrow.store.forks import renew_in_child
from dreamdb_arrow.store.interface import Absent, Aged, Ref, Store
from dreamdb_arrow.store.names import (
    REFS,
    check_object_path,
    check_ranges,
    check_ref_name,
    is_object_path,
    is_ref_name,
)

REQUESTS: Final = 16  # under way together


class FsspecStore:
    """A Space that is read through a file system of fsspec; whatever would write raises UnsupportedError."""

    __slots__ = ("__weakref__", "_files", "_lock", "_root", "_url")

    def __init__(self, files: Any, root: str, url: str) -> None:
        self._files, self._url = files, url
        self.after_fork()
        renew_in_child(self)
        self._root = f"{root.rstrip('/')}/" if root.strip("/") else ""

    def after_fork(self) -> None:
        """Take a lock of its own: two readers of one archive would move each other's place in it."""
        together = getattr(self._files, "async_impl", False)
        self._lock: AbstractContextManager[Any] = nullcontext() if together else Lock()

    def __repr__(self) -> str:
        return f"FsspecStore({self._url!r})"

    @property
    def concurrency(self) -> int:
        """How many calls to have under way together."""
        return REQUESTS

    @property
    def url(self) -> str:
        """What `open_store` was given."""
        return self._url

    # ---------------------------------------------------------------- reading

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        return self._cat(check_object_path(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Return several (start, length) ranges of one object, in order."""
        check_ranges(path, ranges)
        size = self.size(path)
        if any(start + length > size for start, length in ranges):  # 0005-R4
            raise CorruptDataError(f"{path} ends before the bytes that were asked for")
        return [self._cat(path, start, start + length) if length else b"" for start, length in ranges]

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of all objects that start with these characters."""
        return (found.path for found in self.list_aged(prefix))

    def list_aged(self, prefix: str = "") -> Iterator[Aged]:
        """Yield the same with sizes; ages are not known, and told as 0."""
        directory = prefix[: prefix.rfind("/") + 1]
        if not directory or is_object_path(directory[:-1]):
            for path, size in self._find(directory):
                if path.startswith(prefix) and is_object_path(path):  # 0005-R5
                    yield Aged(path, size, 0)

    def size(self, path: str) -> int:
        """Return the length of an object in bytes."""
        with self._answers(check_object_path(path)):
            found = self._files.info(self._root + path)
            if found["type"] != "file":
                raise ObjectNotFoundError(path)
            return int(found["size"])

    def exists(self, path: str) -> bool:
        """Whether an object lies at this path."""
        try:
            self.size(path)
        except ObjectNotFoundError:
            return False
        return True

    def local_path(self, path: str) -> Path | None:
        """Return None: what is read here may lie in an archive."""
        check_object_path(path)
        return None

    def read_ref(self, name: str) -> Ref | Absent:
        """Return what a ref holds."""
        try:
            return Ref(as_address(self._cat(f"{REFS}/{check_ref_name(name)}")))  # 0005-R7
        except ObjectNotFoundError:
            return Absent()
        except LayoutError:
            raise CorruptDataError(
                f"ref {name!r} is malformed: it does not hold the {ADDRESS_BYTES} bytes of an address"
            ) from None

    def list_refs(self, prefix: str = "") -> builtins.list[str]:
        """Return the names of all refs that start with these characters, sorted."""
        names = (path[len(REFS) + 1 :] for path, _ in self._find(f"{REFS}/"))
        return sorted(name for name in names if name.startswith(prefix) and is_ref_name(name))

    def renew(self, path: str) -> bool:  # noqa: ARG002 - as in a store that has copies
        """There are no copies."""
        return False

    def sweep(self, before_ns: int) -> int:  # noqa: ARG002 - nothing is written here
        """Nothing to do."""
        return 0

    # ---------------------------------------------------------------- writing

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise UnsupportedError(
            f"{self._url} can be read and not written; clone it into a folder or a bucket, and write there"
        )

    put = put_many = freshen = delete = delete_aged = swap_ref = now_ns = _refuse

    # ---------------------------------------------------------------- calls

    def _cat(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        with self._answers(path):
            if start is None and not self._files.isfile(
                self._root + path
            ):  # some read folders as empty files
                raise ObjectNotFoundError(path)
            return bytes(self._files.cat_file(self._root + path, start=start, end=end))

    def _find(self, directory: str) -> Iterator[tuple[str, int]]:
        """Yield path and size of all files below a folder that ends with a slash, or of all there are."""
        with self._answers(directory):
            found = self._files.find((self._root + directory).rstrip("/"), detail=True)
        cut = len(self._root.lstrip("/"))
        for path, info in found.items():
            yield path.lstrip("/")[cut:], int(info["size"])

    @contextmanager
    def _answers(self, path: str) -> Iterator[None]:
        """Turn what goes wrong into our errors: each file system has its own."""
        try:
            with self._lock:
                yield
        except DreamDBError:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, KeyError):
            raise ObjectNotFoundError(path) from None
        except Exception as error:  # noqa: BLE001 - of packages that we do not know
            raise StoreError(f"{self._url} failed at {path}: {_line(error)}", retryable=True) from None


def open_fsspec(url: str) -> Store | None:
    """Return the store of a URL, to be read only; None for a scheme that fsspec does not know.

    Raises InvalidInputError when a package is missing for it, NotFoundError when nothing is there, StoreError when it cannot be
    read.
    """
    if url.partition("://")[0].partition("::")[0] not in fsspec.available_protocols():
        return None
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise InvalidInputError(f"cannot open {url!r}: {_line(error)}") from None
    except FileNotFoundError:
        raise NotFoundError(f"no Space at {url}: nothing is there") from None
    except Exception as error:  # noqa: BLE001 - of packages that we do not know
        raise StoreError(f"cannot open {url}: {_line(error)}") from None
    return FsspecStore(files, root, url)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
