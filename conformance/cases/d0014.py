"""Cases of 0014: video items and geometry items."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from cases.kit import MISSING, Case, VectorFile, changed, files, invalid, reference, smallest, valid
from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor

_INIT: Final = bytes(address_of(b"init"))
_DATA: Final = bytes(address_of(b"data"))


def _video(**changes: Any) -> bytes:
    base = {
        "v": 1,
        "init": _INIT,
        "duration": 100,
        "modality": "ai.dreamlake.media.video_item.h264.version=1",
        "fragments": [[0, 40, 7, _DATA], [40, 60, 9, _DATA]],
    }
    return encode_cbor(changed(base, **changes))


def videos() -> Iterator[Case]:
    """Videos of their own."""
    for nth in (0, 3):
        data = smallest("video-items", "/video-item/", nth)
        yield reference(f"reference-{nth}", "0014-R4", "as the SDK wrote it", hex=data)
    yield valid("two-fragments", "0014-R4", "one after the other", hex=_video())
    yield valid(
        "packed",
        "0014-R4",
        "fragments in a pack",
        hex=_video(fragments=[[0, 40, 7, _DATA, False, 0], [40, 60, 9, _DATA, False, 7]]),
    )
    yield valid("no-fragments", "0014-R4", "an init segment alone", hex=_video(fragments=[]))
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "fragments-overlap": ("39 is before 40", {"fragments": [[0, 40, 7, _DATA], [39, 60, 9, _DATA]]}),
        "fragment-beyond-the-end": ("101 of 100", {"fragments": [[0, 101, 7, _DATA]]}),
        "fragment-of-five": ("a flag without an offset", {"fragments": [[0, 40, 7, _DATA, False]]}),
        "fragment-chunked": ("the flag is false", {"fragments": [[0, 40, 7, _DATA, True, 0]]}),
        "fragment-flag-number": ("0 is not false", {"fragments": [[0, 40, 7, _DATA, 0, 0]]}),
        "version-float": ("1.0 is not 1", {"v": 1.0}),
        "version-2": ("a version that nobody knows", {"v": 2}),
        "init-missing": ("it must be there", {"init": MISSING}),
        "modality-bad": ("would leave its directory", {"modality": "../x"}),
        "key-too-many": ("the map is closed", {"w": 1}),
    }
    for name, (comment, change) in bad.items():
        yield invalid(name, "0014-R4 0000-R1", comment, hex=_video(**change))


def _geometry(**changes: Any) -> bytes:
    base = {
        "v": 1,
        "depth": 2,
        "index": {"form": "cells-v1", "cells": [[0, 1, _DATA, 0, 10], [5, 2, _DATA, 10, 20]]},
        "units": "m",
        "family": "point",
        "step_f64le": struct.pack("<3d", 0.5, 0.5, 0.25),
        "origin_f64le": struct.pack("<3d", -1, 0, 1),
    }
    return encode_cbor(changed(base, **changes))


def geometry() -> Iterator[Case]:
    """Points, splats, meshes."""
    splats = {"form": "cells-v1", "cells": [[3, 1, _DATA, 0, 46]]}
    mesh = {"form": "mesh-lods-v1", "levels": [[0, 3, 1, _DATA, 30], [4, 4, 2, _DATA, 48]]}
    for _, data in files("geometry", "/geometry-item/"):
        family = decode_cbor(data)["family"]
        name = f"reference-{family}-{len(data)}"
        yield reference(name, "0014-R5", "as the SDK wrote it", hex=data)
    yield valid("points", "0014-R5", "two cells", hex=_geometry())
    yield valid("splats", "0014-R5", "46 bytes each", hex=_geometry(family="splat", index=splats))
    yield valid("mesh", "0014-R5", "two levels", hex=_geometry(family="mesh", index=mesh))
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "family-unknown": ("three there are", {"family": "cloud"}),
        "version-float": ("1.0 is not 1", {"v": 1.0}),
        "depth-17": ("sixteen bits a coordinate", {"depth": 17}),
        "cells-out-of-order": (
            "5 before 0",
            {"index": {"form": "cells-v1", "cells": [[5, 1, _DATA, 0, 10], [0, 1, _DATA, 10, 10]]}},
        ),
        "cell-of-another-size": (
            "ten bytes a point",
            {"index": {"form": "cells-v1", "cells": [[0, 1, _DATA, 0, 11]]}},
        ),
        "mesh-of-cells": ("levels belong to it", {"family": "mesh"}),
        "step-nan": ("not a number", {"step_f64le": struct.pack("<3d", 1, float("nan"), 1)}),
        "origin-single": ("24 bytes", {"origin_f64le": struct.pack("<3f", 1, 1, 1)}),
        "units-missing": ("it must be said", {"units": MISSING}),
        "key-too-many": ("the map is closed", {"w": 1}),
    }
    for name, (comment, change) in bad.items():
        yield invalid(name, "0014-R5 0000-R1", comment, hex=_geometry(**change))


FILES: Final = (
    VectorFile(
        "0014", "video-items", "video_item", True, "Video items", "A video and its fragments.", videos
    ),
    VectorFile(
        "0014",
        "geometry-items",
        "geometry_item",
        True,
        "Geometry items",
        "Cells or levels of one piece of geometry.",
        geometry,
    ),
)
