"""What object stores answer when something is wrong, in our errors and in one line. Spec 0005."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from dreamdb_arrow.errors import (
    CorruptDataError,
    DreamDBError,
    NotFoundError,
    ObjectNotFoundError,
    StoreError,
    UnsupportedError,
)

LOST: Final = (AlreadyExistsError, PreconditionError)  # of a conditional write: somebody was faster
_CODE: Final = re.compile(r"<Code>\s*([^<]{1,100})</Code>|\(code: (\w{1,100})\)")
_MESSAGE: Final = re.compile(r"<Message>\s*([^<]{1,300})</Message>")
_STATUS: Final = re.compile(r"status code: (\d{3}[^:\n<]{0,40})")
_KIND: Final = re.compile(r"kind: (Connect|Timeout|Interrupted),")
_CAUSE: Final = re.compile(r'(?:message|error): "([^"\n]{1,200})"')
_BROKEN: Final = MappingProxyType(
    {
        "Connect": "no server answers there",
        "Timeout": "no answer in time; ?timeout=SECONDS in the URL allows more",
        "Interrupted": "the connection broke off",
    }
)
_REFUSED: Final = (
    "AccessDenied",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "ExpiredToken",
    "InvalidToken",
)
_SHOWN: Final = 300  # characters of what a server says


@contextmanager
def answers(url: str, path: str) -> Iterator[None]:
    """Turn what goes wrong while a store is asked about a path into our errors; `LOST` passes.

    Raises ObjectNotFoundError, NotFoundError when there is no such bucket, CorruptDataError for a range behind the end,
    UnsupportedError for a condition that the server does not know, StoreError for all else.
    """
    try:
        yield
    except LOST:
        raise
    except FileNotFoundError as error:
        if _code_of(error) == "NoSuchBucket":
            raise _no_bucket(url) from None
        raise ObjectNotFoundError(path) from None
    except (BaseError, OSError, ValueError) as error:
        raise _told(url, path, error) from None


def is_upload_gone(error: Exception) -> bool:
    """Whether a server does not know an upload in parts any more: it is finished, or was given up."""
    return _code_of(error) == "NoSuchUpload"


def _told(url: str, path: str, error: Exception) -> DreamDBError:
    code = _code_of(error)
    if code == "NoSuchBucket":
        return _no_bucket(url)
    if code == "InvalidRange":
        return CorruptDataError(f"{path} ends before the bytes that were asked for")
    if code == "NotImplemented":
        return UnsupportedError(
            f"{url} knows no conditions on writes, which guard commits against each other; add ?lock=object to the URL to guard "
            "refs by lock objects instead, in all writers"
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or code in _REFUSED:
        return StoreError(
            f"{url} refuses access to {path}: {_said(error)}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_SESSION_TOKEN, and what this user may do"
        )
    passing = not isinstance(error, NotSupportedError | ValueError)
    return StoreError(f"{url} failed at {path}: {_said(error)}", retryable=passing)


def _no_bucket(url: str) -> NotFoundError:
    return NotFoundError(f"no bucket at {url}; create it first, or check the name")


def _code_of(error: Exception) -> str:
    found = _CODE.search(str(error))
    return (found[1] or found[2]) if found else ""


def _said(error: Exception) -> str:
    """Return what the server said, or why it could not be asked, without the rest of the client's report."""
    text = str(error)
    code, message, status = _code_of(error), _MESSAGE.search(text), _STATUS.search(text)
    if code:
        return f"{code} ({message[1].strip()})" if message else code
    if status:
        return status[1].strip()
    kind, cause = _KIND.search(text), _CAUSE.search(text)
    if kind:
        return f"{_BROKEN[kind[1]]}{f' ({cause[1]})' if cause else ''}"
    head = text.partition("Debug source")[0]
    return " ".join(head.rpartition(" - ")[2].split())[:_SHOWN]
