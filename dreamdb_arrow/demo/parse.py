"""The demo's files as Arrow tables: CSV, the WordNet database, and IDX images.

A file that is not as its makers say is refused with StoreError: the download is damaged, or another release.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dreamdb_arrow.errors import StoreError

U8 = np.ndarray[Any, np.dtype[np.uint8]]

MINUTE_S: Final = 60
PARTS_OF_SPEECH: Final = ("noun", "verb", "adj", "adv")
SYNSET: Final = (  # offset, topic, part of speech, number of words; words; number of pointers, pointers; gloss
    r"^(?P<offset>\d{8}) (?P<topic>\d\d) [nvasr] [0-9a-f]{2} "
    r"(?P<words>(?:\S+ [0-9a-f] )+)\d{3} .*?\| (?P<gloss>.*?)\s*$"
)
# fmt: off
TOPICS: Final = (  # by number: which of the lexicographers' files an entry comes from, what it is about
    "any", "relational", "any", "any", "act", "animal", "artifact", "attribute", "body", "cognition", "communication",
    "event", "feeling", "food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession",
    "process", "quantity", "relation", "shape", "state", "substance", "time", "body", "change", "cognition",
    "communication", "competition", "consumption", "contact", "creation", "emotion", "motion", "perception",
    "possession", "social", "stative", "weather", "participial",
)
LABELS: Final = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)
# fmt: on


def read_flights(folder: Path) -> pa.Table:
    """Return the flights, in the order of their scheduled departure.

    Columns: scheduled (UTC, to the minute, so that many rows share it), month (local), and the fields of the dataset.
    """
    try:
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            text = archive.read("flights.csv")
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"flights.csv.zip cannot be read: {error}") from None
    names = ["month", "time_hour", "minute", "carrier", "flight", "tailnum", "origin", "dest"]
    names += ["dep_delay", "arr_delay", "air_time", "distance"]
    table = _read_csv(pa.BufferReader(text), "flights.csv", names)
    scheduled = pc.add(_seconds(table["time_hour"]), pc.multiply(table["minute"], MINUTE_S))
    left = pc.add(scheduled, pc.multiply(table["dep_delay"], MINUTE_S))
    return pa.table(
        {
            "scheduled": scheduled.cast(pa.timestamp("s")),
            "month": table["month"],
            "carrier": table["carrier"],
            "flight": table["flight"],
            "tail_number": table["tailnum"],
            "origin": table["origin"],
            "dest": table["dest"],
            "departed": left.cast(pa.timestamp("s")),
            "dep_delay": table["dep_delay"].cast(pa.float64()),
            "arr_delay": table["arr_delay"].cast(pa.float64()),
            "air_time": table["air_time"],
            "distance": table["distance"],
        }
    ).sort_by("scheduled")


def read_weather(folder: Path) -> pa.Table:
    """Return the hourly weather of the three airports, in time order, in metric units."""
    names = ["origin", "temp", "wind_speed", "precip", "visib", "time_hour"]
    with pa.OSFile(str(folder / "weather.csv")) as file:
        table = _read_csv(file, "weather.csv", names)
    return pa.table(
        {
            "observed": _seconds(table["time_hour"]).cast(pa.timestamp("s")),
            "origin": table["origin"],
            "celsius": pc.round(pc.multiply(pc.subtract(table["temp"], 32.0), 5 / 9), 1),
            "wind_kmh": pc.round(pc.multiply(table["wind_speed"], 1.609344), 1),
            "rain_mm": pc.round(pc.multiply(table["precip"], 25.4), 1),
            "visibility_km": pc.round(pc.multiply(table["visib"], 1.609344), 1),
        }
    ).sort_by("observed")


def _read_csv(source: Any, name: str, columns: list[str]) -> pa.Table:
    convert = csv.ConvertOptions(include_columns=columns, null_values=["", "NA"], strings_can_be_null=True)
    try:
        return csv.read_csv(source, convert_options=convert)
    except (pa.ArrowInvalid, KeyError) as error:
        raise StoreError(f"{name} is not as expected: {error}") from None


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.timestamp("s", "UTC")).cast(pa.int64())


def read_words(folder: Path) -> pa.Table:
    """Return the sets of synonyms of WordNet: number, word, synonyms, part_of_speech, topic, gloss, definition.

    The number is WordNet's own: one digit for the part of speech, eight for the place in its file. A gloss is a
    definition and, often, examples.
    """
    return pa.concat_tables(
        [_read_synsets(folder / f"data.{part}", i) for i, part in enumerate(PARTS_OF_SPEECH, start=1)]
    )


def _read_synsets(path: Path, digit: int) -> pa.Table:
    text = path.read_text(encoding="latin-1")
    lines = pa.array([line for line in text.split("\n") if line and not line.startswith("  ")], pa.string())
    found = pc.extract_regex(lines, SYNSET)
    if found.null_count:
        row = int(np.flatnonzero(np.asarray(found.is_null()))[0])
        raise StoreError(f"{path.name} is not as expected: {lines[row].as_py()[:60]!r}")
    words = _plain_words(found.field("words"))
    topics = pa.array(TOPICS).take(found.field("topic").cast(pa.int32()))
    gloss = found.field("gloss")
    return pa.table(
        {
            "number": pc.add(found.field("offset").cast(pa.int64()), digit * 10**8),
            "word": pc.replace_substring_regex(words, ", .*", ""),
            "synonyms": pc.if_else(
                pc.match_substring(words, ", "), pc.replace_substring_regex(words, "^.*?, ", ""), None
            ),
            "part_of_speech": pa.repeat(PARTS_OF_SPEECH[digit - 1], len(found)),
            "topic": topics,
            "gloss": gloss,
            "definition": pc.utf8_rtrim(pc.replace_substring_regex(gloss, r';\s*".*', ""), characters="; "),
        }
    )


def _plain_words(column: pa.Array) -> pa.Array:
    """Return `kick_in 0 kick_down 2 ` as `kick in, kick down`; adjectives lose their `(p)`."""
    bare = pc.replace_substring_regex(column, r"\((?:a|p|ip)\) ", " ")
    listed = pc.replace_substring_regex(bare, r" [0-9a-f] ", ", ")
    return pc.replace_substring(pc.utf8_rtrim(listed, characters=", "), "_", " ")


def read_fashion(folder: Path) -> tuple[U8, pa.Array]:
    """Return the test images of Fashion-MNIST, (n, 28, 28) uint8, and what each shows."""
    images = _read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)
    labels = _read_idx(folder / "t10k-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels) or labels.max(initial=0) >= len(LABELS):
        raise StoreError(f"Fashion-MNIST is not as expected: {len(images)} images, {len(labels)} labels")
    return images, pa.array(LABELS).take(pa.array(labels))


def _read_idx(path: Path, rank: int) -> U8:
    """Return an IDX file of bytes: a magic number, its rank, one length a dimension, then the values."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{path.name} cannot be read: {error}") from None
    head = 4 + 4 * rank
    shape = tuple(int(n) for n in np.frombuffer(data[4:head], dtype=">u4"))
    if (
        data[:4] != bytes([0, 0, 8, rank])
        or len(shape) != rank
        or len(data) != head + np.prod(shape, dtype=np.int64)
    ):
        raise StoreError(f"{path.name} is not as expected: it begins {data[:4].hex()}, {len(data)} bytes")
    return np.frombuffer(data, dtype=np.uint8, offset=head).reshape(shape)
