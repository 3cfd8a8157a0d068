"""Modality tags: the text that says what a Track holds, and names its directory. Spec 0001.

    tag      = [vendor "."] class "." codec *("." param)          at most 256 characters
    vendor   = segment "." segment "." segment                    reverse DNS, unless class is built in
    param    = segment ["=" value]                                a flag, or a named value
    segment  = 1*(a-z / 0-9 / "_")
    value    = *(A-Z / a-z / 0-9 / "_")

As `scalar.i64.field=n`, `embedding.f32.dim=8.metric=l2.bucketed`, `org.dreamdb.arrow.stripe.v1`. No tag holds
a slash, nor a dot beside a dot: what parses is safe to be one segment of a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dreamdb_arrow.errors import LayoutError

MODALITY_CHARACTERS_MAX: Final = 256
BUILT_IN_CLASSES: Final = frozenset(
    {
        "array",
        "audio",
        "author",
        "description",
        "embedding",
        "image",
        "license",
        "scalar",
        "sensor",
        "source",
        "text",
        "title",
        "video",
    }
)
_VENDOR_SEGMENTS: Final = 3
_SEGMENT: Final = r"[a-z0-9_]+"
_TAG: Final = re.compile(rf"{_SEGMENT}\.{_SEGMENT}(?:\.{_SEGMENT}(?:=[A-Za-z0-9_]*)?)*")


@dataclass(frozen=True, slots=True)
class Modality:
    """A tag in its parts; `str(modality)` is the tag. A flag is a param without a value."""

    class_name: str
    codec: str
    params: tuple[tuple[str, str | None], ...] = ()
    vendor: str = ""

    def __str__(self) -> str:
        params = (name if value is None else f"{name}={value}" for name, value in self.params)
        return ".".join((*filter(None, [self.vendor]), self.class_name, self.codec, *params))


def parse_modality(text: str) -> Modality:
    """Return the parts of a tag. Raises LayoutError, with the text, for what the grammar does not have."""
    if len(text) > MODALITY_CHARACTERS_MAX or not _TAG.fullmatch(text):  # 0001-R10
        raise LayoutError(f"not a modality: {text!r:.80}")
    segments = text.split(".")
    vendored = 0 if segments[0] in BUILT_IN_CLASSES else _VENDOR_SEGMENTS
    parts = segments[vendored:]
    if len(parts) < 2 or "=" in "".join(segments[: vendored + 2]):  # 0001-R10
        raise LayoutError(f"not a modality, its class is neither built in nor behind a vendor: {text!r:.80}")
    return Modality(
        class_name=parts[0],
        codec=parts[1],
        params=tuple(_parse_param(part) for part in parts[2:]),
        vendor=".".join(segments[:vendored]),
    )


def check_modality(text: str) -> str:
    """Return a text that is a tag, and so safe in a path. Raises LayoutError, with the text, for any other."""
    parse_modality(text)
    return text


def modality_param(modality: Modality, name: str) -> str | None:
    """Return the value of a param, the empty text for a flag, None when the modality does not have it."""
    return next((value or "" for key, value in modality.params if key == name), None)


def _parse_param(part: str) -> tuple[str, str | None]:
    name, equals, value = part.partition("=")
    return name, value if equals else None
