"""Cells: what a table on a screen says of a value. Long lists and bytes in brief, all else whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dreamdb_arrow.cli.values import is_map
from dreamdb_arrow.cli.words import printable

NULL: Final = "NULL"
LIST_ITEMS_MAX: Final = 4  # of longer lists, the first two items and the length are shown
TEXT_MAX: Final = 10_000

SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
)


def cell(value: Any) -> str:
    """Return a value as one line of printable characters."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return _bytes_cell(value)
    if isinstance(value, list):
        return _mapping_cell(dict(value)) if is_map(value) else _list_cell(value)
    if isinstance(value, dict):
        return _mapping_cell(value)
    text = str(value)
    return printable(text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…")


def _list_cell(value: list[Any]) -> str:
    if len(value) <= LIST_ITEMS_MAX:
        return f"[{', '.join(_item(v) for v in value)}]"
    return f"[{', '.join(_item(v) for v in value[:2])}, … {len(value)}]"


def _mapping_cell(value: Mapping[Any, Any]) -> str:
    return f"{{{', '.join(f'{cell(k)}: {_item(v)}' for k, v in value.items())}}}"


def _item(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else cell(value)


def _bytes_cell(value: bytes) -> str:
    mime = next((m for at, magic, m in SIGNATURES if value[at : at + len(magic)] == magic), "")
    return f"<{size_text(len(value))}{mime and ' '}{mime}>"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
