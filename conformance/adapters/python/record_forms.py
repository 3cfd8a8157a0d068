"""Scalar records with runs, form by form: which containers are runs, and which ones. Spec 0011.

Readers take runs, writers write none, so an encoder alone cannot give such a record back. This is a second reading
of the layout, by plain Python, that can: it is what mutated records with runs are compared with.
"""

from __future__ import annotations

import struct
from typing import Any, Final

COOKIE: Final = 12346
RUN_COOKIE: Final = 12347

Runs = list[list[int]]  # [first, length - 1] of each run


def decode_forms(data: bytes) -> list[list[Runs | None] | None] | None:
    """Return, of a record that was found right, the runs of each container of each block.

    None for a block without runs in its head; None when no block has any.
    """
    if RUN_COOKIE.to_bytes(2, "little") not in data:
        return None
    blocks, at = [], 9
    for _ in range(int.from_bytes(data[1:9], "little")):
        block, at = _read_block(data, at + 4)
        blocks.append(block)
    return blocks if any(block is not None for block in blocks) else None


def _read_block(data: bytes, at: int) -> tuple[list[Runs | None] | None, int]:
    (cookie,) = struct.unpack_from("<I", data, at)
    if cookie == COOKIE:
        flags, k, at = None, struct.unpack_from("<I", data, at + 4)[0], at + 8
    else:
        k = (cookie >> 16) + 1
        flags = int.from_bytes(data[at + 4 : at + 4 + (k + 7) // 8], "little")
        at += 4 + (k + 7) // 8
    cardinalities = [struct.unpack_from("<H", data, at + 4 * n + 2)[0] + 1 for n in range(k)]
    at += 4 * k + (4 * k if flags is None or k >= 4 else 0)
    containers: list[Runs | None] = []
    for n, cardinality in enumerate(cardinalities):
        if flags is not None and flags >> n & 1:
            (count,) = struct.unpack_from("<H", data, at)
            pairs = struct.unpack_from(f"<{2 * count}H", data, at + 2)
            containers.append([list(pair) for pair in zip(pairs[::2], pairs[1::2], strict=True)])
            at += 2 + 4 * count
        else:
            containers.append(None)
            at += 2 * cardinality if cardinality <= 4096 else 8192
    return (None if flags is None else containers), at


def encode_forms(anchors: list[int], runs: list[Any]) -> bytes:
    """Return the record of these anchors whose containers have the runs that decode_forms gives."""
    highs: dict[int, dict[int, list[int]]] = {}
    for anchor in anchors:
        highs.setdefault(anchor >> 32, {}).setdefault(anchor >> 16 & 0xFFFF, []).append(anchor & 0xFFFF)
    parts = [b"\x01", struct.pack("<Q", len(highs))]
    for (high, containers), forms in zip(sorted(highs.items()), runs, strict=True):
        parts += [struct.pack("<I", high), _write_block(sorted(containers.items()), forms)]
    return b"".join(parts)


def _write_block(containers: list[tuple[int, list[int]]], forms: list[Runs | None] | None) -> bytes:
    k = len(containers)
    if forms is None:
        head = struct.pack("<II", COOKIE, k)
    else:
        flags = sum(1 << n for n, form in enumerate(forms) if form is not None)
        head = struct.pack("<I", RUN_COOKIE | (k - 1) << 16) + flags.to_bytes((k + 7) // 8, "little")
    lines = b"".join(struct.pack("<HH", key, len(lows) - 1) for key, lows in containers)
    bodies = [
        _write_container(lows, form) for (_, lows), form in zip(containers, forms or [None] * k, strict=True)
    ]
    offsets = b""
    if forms is None or k >= 4:
        at = len(head) + 8 * k
        for body in bodies:
            offsets += struct.pack("<I", at)
            at += len(body)
    return head + lines + offsets + b"".join(bodies)


def _write_container(lows: list[int], form: Runs | None) -> bytes:
    if form is not None:
        return struct.pack("<H", len(form)) + b"".join(struct.pack("<HH", *pair) for pair in form)
    if len(lows) <= 4096:
        return struct.pack(f"<{len(lows)}H", *lows)
    return sum(1 << low for low in lows).to_bytes(8192, "little")
