# ruff: noqa: NPY002, T201 - samples, as their makers wrote them
# fmt: off
"""The samples of DreamDB's own README, run as they stand: only the import and the backend differ."""

import numpy as np

import dreamdb_arrow as vd


def clip_embed(text: str) -> list[float]:
    return np.random.default_rng(len(text)).standard_normal(512).tolist()


def test_multimodal_versioned_dataset(tmp_path):
    jpeg_bytes, clip_vec = b"\xff\xd8\xff\xd9", np.random.default_rng(0).standard_normal(512)

    schema = (vd.Schema()
              .add_image("image", mime="jpeg")
              .add_embedding("embedding", dim=512, algorithm="dreamdb.ivf-cosine", rerank=True)
              .add_scalar_categorical("label"))

    backend = f"file://{tmp_path}/imagenet-1k"
    ds = vd.Dataset.create("imagenet-1k", schema, backend=backend)

    ds.append_many([
        {"image": jpeg_bytes, "embedding": clip_vec, "label": "tabby cat"},
    ])

    v = ds.snapshot("baseline-2026-05-18")

    hits = ds.iter_vector(field="embedding", query=clip_embed("a brown dog"), top_k=10)

    ds.delete(anchors=[1779083474791115000], reason="gdpr")

    old = vd.Dataset.open_at(v, backend=backend)

    assert [batch["label"] for batch in hits] == [["tabby cat"]]
    assert old.count() == 1
    assert ds.tombstone_set() == [1779083474791115000]


def test_hello_world(tmp_path, capsys):
    s = vd.Schema().add_embedding("v", dim=32, algorithm="dreamdb.lsh-cosine")
    ds = vd.Dataset.create("hello", s, backend=f"file://{tmp_path}/demo")

    samples = [{"v": np.random.randn(32).astype(np.float32)} for _ in range(1000)]
    ds.append_many(samples)

    q = np.random.randn(32).astype(np.float32).tolist()
    batches = ds.iter_vector(field="v", query=q, top_k=5)
    for batch in batches:
        for anchor in batch["_time_anchors"]:
            print(f"hit: anchor={anchor}")

    assert capsys.readouterr().out.count("hit: anchor=") == 5


def test_sharded_ingest(tmp_path):
    s = vd.Schema().add_scalar_int("n")
    ds = vd.Dataset.create("sharded", s, backend=f"file://{tmp_path}/demo")
    for i in range(3):
        ds.branch(f"worker-{i}").append_many([{"n": i}])
    assert ds.count() == 0

    ds.merge_many(["worker-0", "worker-1", "worker-2"])

    assert ds.count() == 3
    assert vd.Dataset.open("sharded", backend=f"file://{tmp_path}/demo").count() == 3
