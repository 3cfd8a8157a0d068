"""What the vectors say, by document: each module has its files, `FILES`, and a function to the cases of each."""

from __future__ import annotations

from typing import Final

from cases import (
    d0001,
    d0002,
    d0003,
    d0004,
    d0005,
    d0007,
    d0008,
    d0010,
    d0011,
    d0013,
    d0014,
    d0016,
    d0020,
    d0021,
)
from cases.kit import VectorFile

__all__ = ["FILES", "VectorFile"]

FILES: Final[tuple[VectorFile, ...]] = (
    *d0001.FILES,
    *d0002.FILES,
    *d0003.FILES,
    *d0004.FILES,
    *d0005.FILES,
    *d0007.FILES,
    *d0008.FILES,
    *d0010.FILES,
    *d0011.FILES,
    *d0013.FILES,
    *d0014.FILES,
    *d0016.FILES,
    *d0020.FILES,
    *d0021.FILES,
)
