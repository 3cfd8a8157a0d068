"""Swapping a ref over a line that may break: a lost answer is not a lost race. Specs 0005 and 0008.

A swap that failed may still have taken effect, its answer lost on the way. Who then builds the same change once
more counts its rows twice. So after any failure the ref is read back and asked whose it is; the address of the
new Manifest, being that of its content, answers.
"""

from __future__ import annotations

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.errors import RefConflictError, StoreError
from dreamdb_arrow.store.interface import Absent, Ref, Store, holds


def swap_confirmed(store: Store, name: str, expect: Ref | Absent, new: Address | Absent) -> bool:
    """Swap a ref; return True when it now holds `new`, False when somebody else was faster.

    Raises StoreError when neither can be said: the request may be under way still, so the caller must not build
    its change a second time before it has looked at the ref again.
    """
    try:
        store.swap_ref(name, expect, new)
    except RefConflictError:
        return holds(store.read_ref(name), new)
    except StoreError:
        if not holds(store.read_ref(name), new):  # 0005-R9
            raise
    return True
