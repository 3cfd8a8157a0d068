"""Clone beside a plain parallel copy of the same objects, killed twice on the way: python -m benchmarks.transfer --help.

The plain copy is what obstore alone does: read a file or an object, write it, forty-eight at a time, nothing verified.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import obstore
from obstore.store import LocalStore, S3Store

import dreamdb_arrow as vd
from dreamdb_arrow.testing import check_objects

TOGETHER: Final = 48
STRIPE_ROWS: Final = 20_000
DIM: Final = 256
IMAGE_BYTES: Final = 60_000
IMAGES: Final = 200  # a commit
CLONE: Final = """
import os, signal, sys
import dreamdb_arrow as vd

def told(done, known, size):
    if size > int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

vd.clone(*sys.argv[1:3], cache_dir=sys.argv[3], progress=told)
"""
Client = LocalStore | S3Store


def make_space(root: Path, gigabytes: float) -> None:
    """Write a Space of about so many bytes: per commit 20,000 rows with a vector of 256 numbers, 200 of them with an image."""
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=DIM)
    images = vd.Schema().add_scalar_int("n").add_image("image", mime="png")
    rows, pictures = (vd.Dataset.create(name, s, root) for name, s in (("rows", schema), ("images", images)))
    random, size = np.random.default_rng(7), 0
    while size < gigabytes * 1e9:
        vectors = random.standard_normal((STRIPE_ROWS, DIM), dtype=np.float32)
        rows.append_many([{"n": i, "v": vector} for i, vector in enumerate(vectors)])
        pictures.append_many([{"n": i, "image": random.bytes(IMAGE_BYTES)} for i in range(IMAGES)])
        size += vectors.nbytes + IMAGES * IMAGE_BYTES
    rows.snapshot("done")


def copy_plainly(source: Client, target: Client) -> tuple[int, int]:
    """Copy all objects by obstore alone; return how many, and their bytes."""
    found = [meta for chunk in obstore.list(source) for meta in chunk]

    def one(meta: Any) -> None:
        obstore.put(target, meta["path"], obstore.get(source, meta["path"]).bytes())

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(one, found))
    return len(found), sum(meta["size"] for meta in found)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call takes, and what it returns."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def killed_twice(source: str, target: str, cache: Path, size: int) -> int:
    """Clone in processes of which each of the first two is killed after a third of the bytes; return what the last one did."""
    for _ in range(2):
        line = [sys.executable, "-c", CLONE, source, target, str(cache), str(size // 3)]
        assert subprocess.run(line, check=False).returncode == -signal.SIGKILL
    return int(vd.clone(source, target, cache_dir=cache)["bytes"])


def check_equal(source: str, target: str) -> int:
    """Check that refs are equal and all objects whole; return how many refs lead to."""
    one, two = vd.open_store(source), vd.open_store(target)
    names = one.list_refs()
    assert names == two.list_refs(), "other refs"
    assert all(one.read_ref(n).address == two.read_ref(n).address for n in names), "other versions"  # type: ignore[union-attr]
    return check_objects(two)


def main() -> None:
    """Make a Space, copy it there and back in both ways, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server", default="http://127.0.0.1:28333/test", help="a bucket on a server that speaks S3"
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--work", type=Path, default=None, help="a folder for some three times as much")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        _measure(Path(folder), f"{args.server}/bench-{uuid.uuid4().hex[:8]}", args.gigabytes)


def _measure(folder: Path, url: str, gigabytes: float) -> None:
    space, cache = folder / "space", folder / "cache"
    make_space(space, gigabytes)
    there = f"{url}/ours"
    endpoint, _, rest = url.removeprefix("http://").partition("/")
    bucket, _, prefix = rest.partition("/")
    plain = S3Store(
        bucket,
        prefix=f"{prefix}/plain",
        config={"endpoint": f"http://{endpoint}", "skip_signature": True, "region": "us-east-1"},
        client_options={"allow_http": True},
    )
    up_plain, (objects, size) = seconds(lambda: copy_plainly(LocalStore(space), plain))
    up, _ = seconds(lambda: vd.clone(space, there, cache_dir=cache))
    down_plain, _ = seconds(lambda: copy_plainly(plain, LocalStore(folder / "plain", mkdir=True)))
    down, _ = seconds(lambda: vd.clone(there, folder / "back", cache_dir=folder / "cache2"))
    print(f"{objects:,} objects, {size / 1e9:.2f} GB")
    for name, ours, theirs in (("file to bucket", up, up_plain), ("bucket to file", down, down_plain)):
        rates = f"plain {size / theirs / 1e6:.0f} MB/s, clone {size / ours / 1e6:.0f} MB/s"
        print(f"{name}: {rates}, {theirs / ours:.2f} of the plain copy's rate")
    left = killed_twice(str(space), f"{url}/killed", cache, size)
    print(
        f"killed twice, the third clone copied {left / 1e9:.2f} GB; {check_equal(str(space), f'{url}/killed'):,} objects equal"
    )
    left = killed_twice(f"{url}/killed", str(folder / "killed"), folder / "cache3", size)
    print(f"and back: {left / 1e9:.2f} GB; {check_equal(str(space), str(folder / 'killed')):,} objects equal")


if __name__ == "__main__":
    main()
