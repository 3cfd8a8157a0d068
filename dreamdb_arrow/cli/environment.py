"""What the user's environment says: where the cache is, and where the prompt keeps its history."""

from __future__ import annotations

import os
from pathlib import Path

from dreamdb_arrow.columnar.cache import DEFAULT_ROOT

CACHE_DIR = "DREAMDB_CACHE_DIR"


def cache_dir(given: str | None) -> Path:
    """Return the folder of the local cache: what was given, else $DREAMDB_CACHE_DIR, else the default."""
    return Path(given or os.environ.get(CACHE_DIR) or DEFAULT_ROOT)


def history_file() -> Path:
    """Return where the prompt keeps its history: `dreamdb/sql_history` in the user's state directory."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "dreamdb" / "sql_history"
