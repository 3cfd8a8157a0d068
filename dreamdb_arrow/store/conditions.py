"""Whether a server heeds conditions on writes, tried before the first Ref is moved. Spec 0005."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import obstore

from dreamdb_arrow.errors import UnsupportedError
from dreamdb_arrow.store.answers import LOST, answers
from dreamdb_arrow.store.names import LOCKS
from dreamdb_arrow.store.traffic import Traffic

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PROBE: Final = f"{LOCKS}/conditional-writes"  # stays: whoever finds it knows with one request


def check_conditions(client: ObjectStore, url: str, traffic: Traffic) -> None:
    """Create an object that must not be there twice.

    Raises UnsupportedError when the server writes it all the same: two writers would then overwrite each other's commits.
    """
    if _creates(client, url, traffic) and _creates(client, url, traffic):
        raise UnsupportedError(
            f"{url} ignores conditions on writes, so that writers would overwrite each other's commits; add ?lock=object to "
            "the URL to guard refs by lock objects instead, in all writers"
        )


def _creates(client: ObjectStore, url: str, traffic: Traffic) -> bool:
    traffic.add("put")
    try:
        with answers(url, PROBE):
            obstore.put(client, PROBE, b"", mode="create")
    except LOST:
        return False
    return True
