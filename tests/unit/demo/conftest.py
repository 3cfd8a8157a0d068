"""Made downloads, small enough to read: what the demo parses and builds from."""

import gzip
import json
import struct
import zipfile
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dreamdb_arrow.demo.data import FASHION, LISTING, NYCFLIGHTS, WORDNET, Source
from dreamdb_arrow.demo.embed import Model

FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,NA,529,NA,NA,830,NA,UA,1714,NA,LGA,IAH,NA,1416,5,29,2013-01-01T10:00:00Z
2013,1,1,510,515,-5,820,819,1,AA,7,N3,JFK,MIA,160,1089,5,15,2013-01-01T10:00:00Z
2013,7,4,800,800,0,1000,1010,-10,B6,8,N4,JFK,BOS,40,187,8,0,2013-07-04T12:00:00Z
2013,12,31,2359,2359,0,301,300,1,DL,9,N5,JFK,SJU,190,1598,23,59,2014-01-01T04:00:00Z
"""
WEATHER = """\
origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
EWR,2013,1,1,5,32,26.06,59.37,270,10,NA,0,1012,10,2013-01-01T10:00:00Z
JFK,2013,1,1,5,50,26.06,59.37,270,NA,NA,0.1,1012,1,2013-01-01T10:00:00Z
JFK,2013,1,1,6,NA,26.06,59.37,270,5,NA,0,1012,10,2013-01-01T11:00:00Z
"""
LICENCE = "  1 This software and database is being provided to you\n  2 | as is\n"
SYNSETS = {
    "noun": [
        "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 | that which exists  ",
        "04536866 06 n 02 violin 0 fiddle 0 001 @ 02880546 n 0000 | bowed stringed instrument; it has four strings  ",
        '07519253 12 n 01 Schadenfreude 0 000 | delight in misfortune; "he felt | much of it"  ',
        "09917593 18 n 02 child 0 kid 2 001 @ 10285313 n 0000 | a young person  ",
    ],
    "verb": [
        "01931768 38 v 02 kick_in 0 kick_down 2 001 @ 01931768 v 0000 02 + 08 00 + 11 00 | open violently  "
    ],
    "adj": ["00003131 00 s 03 emerging(p) 0 emergent(a) a rising(ip) f 000 | coming into existence  "],
    "adv": ["00001981 02 r 01 barely 0 001 ! 00002142 r 0101 | only a very short time before  "],
}


class LetterTokenizer:
    """A token a letter; `encode_batch_fast` as `tokenizers` has it."""

    def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> list[SimpleNamespace]:
        assert not add_special_tokens
        return [SimpleNamespace(ids=[ord(c) % 64 for c in text]) for text in texts]


@pytest.fixture
def letters() -> Model:
    """A model of eight dimensions that knows letters."""
    return Model(LetterTokenizer(), np.random.default_rng(7).normal(size=(64, 8)).astype(np.float32))


def idx(values: np.ndarray) -> bytes:
    lengths = struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + lengths + values.tobytes())


def keep(root: Path, source: Source, files: dict[str, bytes]) -> None:
    """Put files where `fetch` finds a download that is complete."""
    folder = root / source.package
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    listed = {name: sha256(data).hexdigest() for name, data in files.items()}
    (folder / LISTING).write_text(json.dumps(listed), encoding="utf-8")


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """The folder of all downloads, complete, a few rows each."""
    root = tmp_path / "demo-data" / "downloads"
    root.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "flights.zip", "w") as archive:
        archive.writestr("flights.csv", FLIGHTS)
    flights = (tmp_path / "flights.zip").read_bytes()
    keep(root, NYCFLIGHTS, {"flights.csv.zip": flights, "weather.csv": WEATHER.encode()})
    keep(root, WORDNET, {f"data.{p}": (LICENCE + "\n".join(s) + "\n").encode() for p, s in SYNSETS.items()})
    images = np.random.default_rng(3).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8)[::-1] % 10
    names = {"t10k-images-idx3-ubyte.gz": idx(images), "t10k-labels-idx1-ubyte.gz": idx(labels)}
    keep(root, FASHION, names)
    return root
