"""The most memory that this process ever had."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")


def peak_bytes() -> int:
    """Return the most bytes of memory that this process had.

    VmHWM begins anew with each program; what getrusage tells is the parent's, where that is more.
    """
    if _STATUS.exists():
        return 1024 * int(_STATUS.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def forget_peak() -> None:
    """Let `peak_bytes` begin from what the process has now, where the kernel can (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
