"""Stripes compacted at random moments, with the PyPI SDK as the other writer: our rows, its rows and old versions stay right.

The model knows of each row what we show, and what the Tracks hold, which is what the reference shows.
"""

import random
from contextlib import suppress
from pathlib import Path

import dreamdb
import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.columnar.notes import newest_note
from dreamdb_arrow.dataset import compact_plan, compact_stripes
from dreamdb_arrow.errors import MergeError
from tests.places import url_of

STEPS = 22
KINDS = {"int": lambda rng: rng.randrange(-4, 5), "categorical": lambda rng: rng.choice("abc")}


def vector(rng):
    return [1.0, float(rng.randrange(-9, 9))]


class Model:
    """Rows by anchor as we show them, and what of them the Tracks have; deleted anchors; fields; what is pending."""

    def __init__(self, other=None):
        self.rows = {a: dict(r) for a, r in other.rows.items()} if other else {}
        self.tracks = {a: dict(r) for a, r in other.tracks.items()} if other else {}
        self.pending = set(other.pending) if other else set()
        self.deleted = set(other.deleted) if other else set()
        self.fields = dict(other.fields) if other else {}

    def shown(self, rows):
        found = {a: {k: v for k, v in r.items() if k in self.fields} for a, r in rows.items()}
        return {a: r for a, r in found.items() if r and a not in self.deleted}

    def flush(self):
        for anchor in self.pending - self.deleted:
            self.tracks.setdefault(anchor, {}).update(self.rows[anchor])
        self.pending.clear()

    def unite(self, other):
        for mine, theirs in ((self.rows, other.rows), (self.tracks, other.tracks)):
            for anchor, row in theirs.items():
                held = mine.setdefault(anchor, {})
                for name, value in row.items():
                    held[name] = max(held.get(name, value), value)
        self.deleted |= other.deleted
        held = set(self.rows) - self.deleted
        self.pending = {a for a in held if self.rows[a].keys() - self.tracks.get(a, {}).keys()}


class Run:
    """One Space, written by both SDKs in an order that the seed decides."""

    def __init__(self, root: Path, seed: int):
        self.rng, self.root, self.names, self.anchors = random.Random(seed), root, 0, set()
        (root / "space").mkdir(exist_ok=True)
        self.backend = url_of(root / "space")
        self.manual = self.rng.random() < 0.7
        schema = vd.Schema().add_scalar_int("n").add_scalar_string("s", required=False)
        schema.add_image("im", mime="png", required=False, pack_items=2)
        schema.add_embedding("v", 2, lsh_bits=2, required=False, rerank=True)
        mode = "manual" if self.manual else "commit"
        vd.Dataset.create("main", schema, self.backend, flush=mode, cache_dir=root / "cache")
        self.models = {"main": Model()}
        self.models["main"].fields = {"n": "int", "s": "string", "im": "image", "v": "embedding"}
        self.kept: dict[str, dict] = {}
        self.log: list[str] = []

    def ours(self, ref, cache="cache"):
        return vd.Dataset.open(ref, backend=self.backend, cache_dir=self.root / cache)

    def theirs(self, ref):
        return dreamdb.Dataset.open_ref(ref, self.backend)

    def step(self):
        ref = self.rng.choice(sorted(self.models))
        verbs = [self.append, self.append, self.append_theirs, self.delete, self.flush, self.compact]
        verbs += [
            self.compact,
            self.layer,
            self.add_field,
            self.drop_field,
            self.branch,
            self.union,
            self.keep,
        ]
        verb = self.rng.choice(verbs)
        self.log.append(f"{verb.__name__} {ref}")
        verb(ref, self.models[ref])
        self.check()

    def value(self, kind, anchor):
        if kind == "embedding":
            return vector(self.rng)
        if kind == "image":
            return b"image %d" % self.rng.randrange(6)
        return f"text {anchor % 3}" if kind == "string" else KINDS[kind](self.rng)

    def samples(self, model):
        anchors = self.rng.sample(sorted(set(range(300)) - self.anchors), self.rng.randrange(1, 7))
        self.anchors |= set(anchors)
        with_vectors = self.rng.random() < 0.7
        rows = []
        for anchor in sorted(anchors):
            row = {"_anchor": anchor, "n": self.value("int", anchor)}
            for name, kind in model.fields.items():
                if name != "n" and (with_vectors if kind == "embedding" else self.rng.random() < 0.6):
                    row[name] = self.value(kind, anchor)
            rows.append(row)
        return rows

    def append(self, ref, model):
        rows = self.samples(model)
        self.ours(ref).append_many(rows)
        self.take(model, rows, into_tracks=not self.manual)

    def append_theirs(self, ref, model):
        fields = {k: kind for k, kind in model.fields.items() if not k.startswith("layer")}
        shown = Model(model)
        shown.fields = fields
        rows = self.samples(shown)
        self.theirs(ref).append_many(rows)
        self.take(model, rows, into_tracks=True)

    def take(self, model, rows, *, into_tracks):
        for row in rows:
            values = {k: plain(v) for k, v in row.items() if k != "_anchor"}
            model.rows[row["_anchor"]] = dict(values)
            if into_tracks:
                model.tracks[row["_anchor"]] = dict(values)
            else:
                model.pending.add(row["_anchor"])

    def delete(self, ref, model):
        held = sorted(set(model.rows) - model.deleted)
        if held:
            gone = self.rng.sample(held, min(len(held), self.rng.randrange(1, 5)))
            self.ours(ref).delete(gone)
            model.deleted |= set(gone)

    def flush(self, ref, model):
        self.ours(ref).flush()
        model.flush()

    def layer(self, ref, model):
        """Values for rows that need not be flushed yet: they are in the Track at once."""
        held = sorted(set(model.rows) - model.deleted)
        if not held:
            return
        kind = self.rng.choice(["int", "categorical", "image", "embedding"])
        self.names += 1
        name = f"layer{self.names}"
        chosen = sorted(self.rng.sample(held, min(len(held), 5)))
        samples = [(a, self.value(kind, a)) for a in chosen]
        ds = self.ours(ref)
        if kind == "image":
            ds.add_image_layer(name, "n", samples)
        elif kind == "embedding":
            ds.add_embedding_layer(name, "n", 2, lsh_bits=2, samples=samples)
        else:
            ds.add_scalar_layer(name, "n", kind, samples)
        model.fields[name] = kind
        for anchor, value in samples:
            model.rows[anchor][name] = plain(value)
            model.tracks.setdefault(anchor, {})[name] = plain(value)

    def add_field(self, ref, model):
        if "again" not in model.fields:
            self.ours(ref).add_scalar_int("again")
            model.fields["again"] = "int"

    def drop_field(self, ref, model):
        if "again" in model.fields:
            self.ours(ref).decommission_modality("again")
            del model.fields["again"]
            for rows in (model.rows, model.tracks):
                for row in rows.values():
                    row.pop("again", None)

    def branch(self, ref, model):
        if len(self.models) < 3:
            self.names += 1
            self.ours(ref).branch(f"b{self.names}")
            self.models[f"b{self.names}"] = Model(model)

    def union(self, ref, model):
        for other in sorted(set(self.models) - {ref}):
            who = self.rng.choice([self.ours, self.theirs])
            with suppress(MergeError, RuntimeError):  # schemas differ, or what the reference does not unite
                before = self.ours(ref).current_manifest()
                who(ref).merge(other, strategy="union-tracks")
                if self.ours(ref).current_manifest() != before:
                    self.log.append(f"union of {ref} and {other} by {who.__name__}")
                    model.unite(self.models[other])
                    del self.models[other]
                    self.ours(ref).delete_ref(other)
            return

    def keep(self, ref, model):
        self.kept[self.ours(ref).current_manifest()] = model.shown(model.rows)

    def compact(self, ref, model):
        tracks = self.rng.random() < 0.4
        self.ours(ref).compact(tracks=tracks)
        report = self.ours(ref).compact(tracks=tracks)
        assert report["manifest"] is None, report
        ds = self.ours(ref)
        note = newest_note(ds.space.store, ds.manifest)
        classes = {s.address in note.stripes for s in ds._rows.stripes} if note else {False}
        if len(classes) == 1 and not model.deleted:
            assert all(s.directory for s in ds._rows.stripes)  # nothing has to be brought together any more

    def check(self):
        for ref, model in self.models.items():
            assert our_rows(self.ours(ref)) == model.shown(model.rows), self.log
            assert their_rows(self.theirs(ref)) == model.shown(model.tracks), self.log

    def finish(self):
        for ref, model in self.models.items():
            assert our_rows(self.ours(ref, "fresh")) == model.shown(model.rows), self.log
            self.flush(ref, model)
            self.compact(ref, model)
        self.check()
        for version, rows in self.kept.items():
            assert our_rows(vd.Dataset.open_by_manifest(version, self.backend, cache_dir=None)) == rows


def plain(value):
    return np.asarray(value, "f4").tobytes() if isinstance(value, list | np.ndarray) else value


def our_rows(ds):
    found = {}
    for row in ds.to_arrow().to_pylist():
        anchor = row.pop("_anchor")
        found[anchor] = {k: plain(v) for k, v in row.items() if v is not None and k != "_time"}
    return found


def their_rows(ds):
    found = {}
    for batch in ds.iter_all_batches():
        anchors = batch.pop("_time_anchors")
        for nth, anchor in enumerate(anchors):
            assert anchor not in found
            found[anchor] = {k: plain(v[nth]) for k, v in batch.items() if v[nth] is not None}
    return found


@pytest.mark.parametrize("seed", range(8))
def test_compacted_at_random_moments(
    tmp_path, monkeypatch, seed
):  # 0021-R4, 0021-R9, 0021-R10, 0021-R12, 0021-R14, 0021-R15
    monkeypatch.setattr(compact_plan, "STRIPE_ROWS", 12)  # so that there are several, and commits between
    monkeypatch.setattr(compact_plan, "VECTORS_BYTES", 2000)
    monkeypatch.setattr(compact_stripes, "COMMIT_BYTES", 6000)
    run = Run(tmp_path, seed)
    for _ in range(STEPS):
        run.step()
    run.finish()
