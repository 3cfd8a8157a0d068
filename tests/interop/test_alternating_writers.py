"""The reference SDK and we take turns on one Space, in random order: after every step both see the rows of a model.

`make test` spends a fixed time on it and begins with the same run each time; `make interop` goes on for 2,000 steps
over 200 Spaces, new ones each time. A failure prints the seed of its run: `pytest
tests/interop/test_alternating_writers.py --interop-seed N` does that run again.
"""

import contextlib
import io
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import dreamdb
import numpy as np
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import dreamdb_arrow as vd
from tests.places import url_of

SHARED_MEMORY = Path("/dev/shm")
MAIN = "main"
BRANCHES_MAX = 3
DIM = 4
EXAMPLES_A_SEED = 4  # few, so that the time budget is met closely
STEPS = 16

OURS, THEIRS = "ours", "theirs"
WHO = st.sampled_from([OURS, THEIRS])
NUMBERS = st.integers(0, 2**32)

VALUES = {
    "int": lambda rng: int(rng.integers(-5, 5)),
    "float": lambda rng: float(rng.choice([0.5, -1.25, 3.0, 1e300])),
    "string": lambda rng: f"text {rng.integers(6)} ü",
    "categorical": lambda rng: f"class {rng.integers(3)}",
    "bool": lambda rng: bool(rng.integers(2)),
    "timestamp": lambda rng: int(rng.integers(0, 9)) * 10**9,
    "image": lambda rng: bytes([int(rng.integers(4))]) * int(rng.integers(5)),
    "embedding": lambda rng: rng.standard_normal(DIM).astype("f4"),
    "array": lambda rng: rng.standard_normal((2, 3)).astype("f4"),
}
BASE = {
    "n": "int",
    "s": "string",
    "c": "categorical",
    "x": "float",
    "at": "timestamp",
    "img": "image",
    "v": "embedding",
    "a": "array",
}

HOT_KINDS = ("int", "float", "string", "categorical", "bool", "timestamp")

THEIR_LIMITS = (  # unions that the reference refuses, although both sides say the same of everything
    "the two Layers name different exact parents",  # one side appended to a layer more often than the other
    "inline tracks only",  # arrays changed on both sides
    "merge base: object not found",  # its gc, and ours, keep first parents only
    "merge should use is not something the DAG says",  # two branches that took each other in
    "both rewrote Spatial Bucket cell",  # both sides compacted it
)

done = Counter()  # spaces, steps, and steps by name; what `make interop` counts


class Ref:
    """What a Ref must show: rows by anchor; which of them only stripes hold yet; deleted anchors; fields.

    `flushes` says by anchor which flush brought a row into the Tracks.
    """

    def __init__(self, rows=(), pending=(), deleted=(), fields=(), flushes=()):
        self.rows = {anchor: dict(row) for anchor, row in dict(rows).items()}
        self.pending, self.deleted, self.fields = set(pending), set(deleted), dict(fields)
        self.flushes = dict(flushes)

    def copy(self):
        return Ref(self.rows, self.pending, self.deleted, self.fields, self.flushes)

    def shown(self, *, to):
        hidden = self.deleted | (self.pending if to == THEIRS else set())
        rows = {a: {k: v for k, v in r.items() if k in self.fields} for a, r in self.rows.items()}
        return {a: r for a, r in rows.items() if a not in hidden and r}

    def rivals(self, other):
        """The anchors of rows, live on both sides, with two values of a field."""
        live = self.rows.keys() & other.rows.keys() - self.deleted - other.deleted
        held = ((self.rows[a], other.rows[a], a) for a in live)
        return {a for one, two, a in held if any(one[n] != two[n] for n in one.keys() & two.keys())}

    def unite(self, other):
        flushed = (set(self.rows) - self.pending) | (set(other.rows) - other.pending)
        for anchor, row in other.rows.items():
            held = self.rows.setdefault(anchor, {})
            for name, value in row.items():
                held[name] = max(held.get(name, value), value)
        self.pending = set(self.rows) - flushed
        self.flushes = {**other.flushes, **self.flushes}
        self.deleted |= other.deleted


class AlternatingWriters(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        (self.root / "space").mkdir(exist_ok=True)
        self.backend = url_of(self.root / "space")
        self.refs, self.known, self.used, self.names = {}, set(), set(), 0
        self.manual, self.changed, self.free = False, True, []

    def teardown(self):
        done["spaces"] += bool(self.refs)
        shutil.rmtree(self.root, ignore_errors=True)

    # ------------------------------------------------------------ the two SDKs

    def ours(self, ref, cache="cache"):
        return vd.Dataset.open(ref, backend=self.backend, cache_dir=self.root / cache, durability="os")

    def theirs(self, ref):
        return dreamdb.Dataset.open_ref(ref, self.backend)

    def open(self, who, ref):
        return self.ours(ref) if who == OURS else self.theirs(ref)

    def step(self, name, who=""):
        done["steps"] += 1
        self.changed = name != "gc"
        done[f"{name} {who}".strip()] += 1

    @initialize(
        made=st.sampled_from(["manual", "commit", THEIRS]),
        packed=st.booleans(),
        rerank=st.booleans(),
        arrays=st.booleans(),
    )
    def create(self, made, packed, rerank, arrays):
        module = dreamdb if made == THEIRS else vd
        schema = module.Schema().add_scalar_int("n")
        fields = {name: kind for name, kind in BASE.items() if arrays or kind != "array"}
        for name, kind in fields.items():
            if kind == "image":
                schema.add_image(name, mime="png", required=False, **({"pack_items": 3} if packed else {}))
            elif kind == "embedding":
                schema.add_embedding(name, dim=DIM, lsh_bits=2, required=False, rerank=rerank)
            elif kind == "array":
                schema.add_array(name, "f32", [2, 3], required=False)
            elif name != "n":
                getattr(schema, f"add_scalar_{kind}")(name, required=False)
        if made == THEIRS:
            dreamdb.Dataset.create(MAIN, schema, backend=self.backend)
        else:
            vd.Dataset.create(
                MAIN, schema, self.backend, flush=made, cache_dir=self.root / "cache", durability="os"
            )
        self.manual = made == "manual"
        self.refs = {MAIN: Ref(fields=fields)}
        self.step("create", made)
        self.append(OURS, 0, 1, 5, vectors=True)
        self.append(THEIRS, 0, 2, 5, vectors=True)

    # ------------------------------------------------------------ rows

    @rule(who=WHO, nth=NUMBERS, number=NUMBERS, count=st.integers(1, 7), vectors=st.booleans())
    def append_rows(self, who, nth, number, count, vectors):
        self.append(who, nth, number, count, vectors=vectors)

    def append(self, who, nth, number, count, *, vectors):
        ref, rng = self.pick(nth), np.random.default_rng(number)
        model = self.refs[ref]
        rows = [self.new_row(rng, model, vectors=vectors) for _ in range(count)]
        self.open(who, ref).append_many(rows)
        for row in rows:
            anchor = row.pop("_anchor")
            model.rows[anchor] = {k: plain(v) for k, v in row.items()}
            if who == OURS and self.manual:
                model.pending.add(anchor)
        self.step("append", who)

    def new_row(self, rng, model, *, vectors):
        anchor = int(rng.integers(len(self.used) * 2 + 8))  # often between older rows
        while anchor in self.used:
            anchor += 1
        self.used.add(anchor)
        row = {"_anchor": anchor, "n": VALUES["int"](rng)}
        for name, kind in model.fields.items():
            # the reference takes vectors of all rows of an append, or of none
            if name != "n" and (vectors if kind == "embedding" else rng.random() < 0.6):
                row[name] = VALUES[kind](rng)
        return row

    @rule(nth=NUMBERS, number=NUMBERS)
    def append_again(self, nth, number):
        """The reference takes a second row at an anchor; of two values the larger shows."""
        ref, rng = self.pick(nth), np.random.default_rng(number)
        model = self.refs[ref]
        held = sorted(set(model.rows) - model.pending)
        if not held:
            return
        anchor = int(rng.choice(held))
        row = {k: VALUES[model.fields[k]](rng) for k in ("n", "x", "s") if model.fields.get(k) in HOT_KINDS}
        old = model.rows[anchor]
        # the same value twice: the reference cannot compact a Track back to one that it came from
        row = {name: value for name, value in row.items() if name in model.fields and value != old.get(name)}
        if "n" not in row:
            return
        self.theirs(ref).append_many([{"_anchor": anchor, **row}])
        for name, value in row.items():
            old[name] = max(old.get(name, value), value)
        self.step("append again")

    @rule(
        nth=NUMBERS,
        number=NUMBERS,
        count=st.integers(1, 3),
        between=st.sampled_from(["", "append", "delete"]),
    )
    def append_hot(self, nth, number, count, between):
        """Rows that the reference keeps in a buffer beside the Tracks, after all others, until they are flushed."""
        ref, rng = self.pick(nth), np.random.default_rng(number)
        fields = {k: kind for k, kind in self.refs[ref].fields.items() if kind in HOT_KINDS}
        rows = []
        for anchor in range(max(self.used) + 1, max(self.used) + 1 + count):
            row = {k: VALUES[kind](rng) for k, kind in fields.items() if k == "n" or rng.random() < 0.6}
            self.refs[ref].rows[anchor] = dict(row)
            rows.append({"_anchor": anchor, **row})
        self.used |= {row["_anchor"] for row in rows}
        self.theirs(ref).append_many(rows, hot=True)
        self.both_see_the_rows()
        if between == "append":
            self.append(OURS, nth, number, count, vectors=False)
        elif between == "delete":
            self.delete_some(OURS, nth, number, None)
        self.both_see_the_rows()
        self.theirs(ref).flush_hot()
        self.step("append hot")

    @rule(who=WHO, nth=NUMBERS, number=NUMBERS, reason=st.sampled_from([None, "gdpr"]))
    def delete(self, who, nth, number, reason):
        self.delete_some(who, nth, number, reason)

    def delete_some(self, who, nth, number, reason):
        ref, rng = self.pick(nth), np.random.default_rng(number)
        held = sorted(set(self.refs[ref].rows) - self.refs[ref].deleted)
        if not held:
            return
        gone = rng.choice(held, min(len(held), 2), replace=False).tolist()
        self.open(who, ref).delete(gone, reason=reason)
        self.refs[ref].deleted |= set(gone)
        self.step("delete", who)

    @precondition(lambda self: any(model.pending for model in self.refs.values()))
    @rule(nth=NUMBERS)
    def flush(self, nth):
        ref = self.pick(nth)
        self.ours(ref).flush()
        self.refs[ref].flushes |= dict.fromkeys(self.refs[ref].pending, done["steps"])
        self.refs[ref].pending.clear()
        self.step("flush", OURS)

    # ------------------------------------------------------------ schema

    @rule(
        who=WHO, nth=NUMBERS, kind=st.sampled_from(["int", "float", "string", "categorical", "bool", "image"])
    )
    def add_field(self, who, nth, kind):
        ref, name = self.pick(nth), self.new_name("f")
        ds = self.open(who, ref)
        ds.add_image(name) if kind == "image" else getattr(ds, f"add_scalar_{kind}")(name)
        self.refs[ref].fields[name] = kind
        self.step("add field", who)

    @precondition(lambda self: self.free and len(self.refs) == 1)
    @rule(who=WHO, kind=st.sampled_from(["int", "string", "categorical", "image"]))
    def add_field_again(self, who, kind):
        """A name that was free again: of a new field. Branches on which it is the old one's have no good union."""
        name = self.free.pop()
        ds = self.open(who, MAIN)
        ds.add_image(name) if kind == "image" else getattr(ds, f"add_scalar_{kind}")(name)
        self.refs[MAIN].fields[name] = kind
        self.step("add field again", who)

    @rule(
        who=WHO,
        nth=NUMBERS,
        number=NUMBERS,
        kind=st.sampled_from(["int", "float", "categorical", "bool", "image"]),
    )
    def add_layer(self, who, nth, number, kind):
        ref, rng = self.pick(nth), np.random.default_rng(number)
        model, name = self.refs[ref], self.new_name("l")
        held = sorted(set(model.rows) - model.pending)
        if not held:
            return
        anchors = rng.choice(held, min(len(held), 3), replace=False).tolist()
        samples = [(anchor, VALUES[kind](rng)) for anchor in sorted(anchors)]
        below = "img" if "img" in model.fields else "n"
        if kind == "image":
            self.open(who, ref).add_image_layer(name, below, samples)
        else:
            self.open(who, ref).add_scalar_layer(name, below, kind, samples)
        model.fields[name] = kind
        for anchor, value in samples:
            model.rows[anchor][name] = value
        self.step("add layer", who)

    @rule(who=WHO, nth=NUMBERS, number=NUMBERS)
    def decommission(self, who, nth, number):
        ref, rng = self.pick(nth), np.random.default_rng(number)
        names = sorted(set(self.refs[ref].fields) - {"n"})
        if not names or rng.random() < 0.4:  # not always, or no field is left
            return
        name = str(rng.choice(names))
        self.open(who, ref).decommission_modality(name)
        kind, model = self.refs[ref].fields.pop(name), self.refs[ref]
        held = {anchor for anchor, row in model.rows.items() if row.pop(name, None) is not None}
        if (
            kind in VALUES
            and kind not in ("embedding", "array")
            and (who == OURS or not held & model.pending)
        ):
            self.free.append(name)
        self.step("decommission", who)

    @rule(who=WHO, nth=NUMBERS, text=st.sampled_from(["a", "b"]))
    def set_meta(self, who, nth, text):
        ref = self.pick(nth)
        self.open(who, ref).set_meta("dreamdb.title", text)
        assert self.ours(ref).meta() == self.theirs(ref).meta()
        self.step("set_meta", who)

    # ------------------------------------------------------------ history

    @precondition(lambda self: len(self.refs) < BRANCHES_MAX)
    @rule(who=WHO, nth=NUMBERS)
    def make_branch(self, who, nth):
        self.branch(who, nth)

    def branch(self, who, nth):
        ref, name = self.pick(nth), self.new_name("b")
        self.open(who, ref).branch(name)
        self.refs[name] = self.refs[ref].copy()
        self.step("branch", who)

    @precondition(lambda self: len(self.refs) < BRANCHES_MAX)
    @rule(who=st.tuples(WHO, WHO, WHO, WHO), nth=NUMBERS, number=NUMBERS)
    def diverge_and_merge(self, who, nth, number):
        """Rows on a branch and on the Ref it came from, then one of them."""
        into = self.pick(nth)
        self.branch(who[0], nth)
        branch = f"b{self.names}"
        self.append(who[1], sorted(self.refs).index(branch), number, 3, vectors=bool(number % 2))
        self.append(who[2], sorted(self.refs).index(into), number + 1, 2, vectors=bool(number % 3))
        self.bring(who[3], into, branch, keep=bool(number % 5))

    @precondition(lambda self: len(self.refs) > 1)
    @rule(who=WHO, nth=NUMBERS, keep=st.booleans())
    def merge(self, who, nth, keep):
        """Bring a branch into another Ref: fast-forward where that is possible, else as a union."""
        into = self.pick(nth)
        others = sorted(set(self.refs) - {into})
        branch = others[nth // len(self.refs) % len(others)]
        self.bring(who, into, branch, keep=keep)

    def bring(self, who, into, branch, *, keep):
        ds = self.open(who, into)
        kind = self.relation(into, branch)
        if kind in ("same", "ahead"):
            return
        if kind == "behind":
            if not self.fast_forward(ds, who, into, branch):
                return
            self.refs[into] = self.refs[branch].copy()
        elif not self.union(ds, who, into, branch):
            return
        if not keep and branch != MAIN:
            self.ours(into).delete_ref(branch) if who == OURS else self.theirs(into).delete_ref(branch)
            del self.refs[branch]
        self.step(f"merge {kind}", who)

    def fast_forward(self, ds, who, into, branch):
        refused = attempt(ds.merge, branch, strategy="fast-forward")
        if refused is None:
            return True
        assert who == THEIRS, refused
        if "is not a descendant" in str(refused):  # the reference looks for the tip among first parents only
            assert self.ours(into).current_manifest() not in self.first_parents(branch)
            return False
        # a handle of the reference does not follow to a version that has lost a field; the Ref may have moved
        assert "no TrackEntry" in str(refused)
        assert set(self.refs[into].fields) - set(self.refs[branch].fields)
        return self.relation(into, branch) == "same"

    def union(self, ds, who, into, branch):
        differ, limits = self.differ(into, branch), self.limits(into, branch)
        if differ and who == OURS:
            return False  # it unites what one side alone changed, which the model does not follow; see test_merge
        refused = attempt(ds.merge, branch, strategy="union")
        if refused is not None:
            if who == OURS and "merge before you compact" in str(refused):
                return False
            if who == OURS and "between both sides" in str(refused):
                assert self.refs[into].rivals(self.refs[branch]), refused
                return False
            assert differ or any(limit in str(refused) for limit in limits), refused
            return False
        assert not differ
        self.refs[into].unite(self.refs[branch])
        return True

    def limits(self, into, branch):
        """Return what the reference may say: it unites no Tracks of which one has all that the other has.

        That is so when both sides flushed rows that were pending when they parted.
        """
        left, right = (self.refs[ref].flushes for ref in (into, branch))
        twice = any(left[anchor] != right[anchor] for anchor in left.keys() & right.keys())
        return (*THEIR_LIMITS, "the offered fusion is one side's own binding") if twice else THEIR_LIMITS

    def relation(self, into, branch):
        ours, theirs = (self.ours(name).current_manifest() for name in (into, branch))
        if ours == theirs:
            return "same"
        return (
            "behind"
            if ours in self.ancestry(theirs)
            else "ahead"
            if theirs in self.ancestry(ours)
            else "apart"
        )

    def ancestry(self, tip):
        reached, pending = set(), [tip]
        while pending:
            if (address := pending.pop()) not in reached:
                reached.add(address)
                with contextlib.suppress(vd.NotFoundError):  # gc keeps first parents only
                    pending += map(str, vd.Dataset.open_by_manifest(address, self.backend).manifest.parents)
        return reached

    def first_parents(self, ref):
        return {version["manifest"] for version in self.ours(ref).history(max_depth=None)}

    def differ(self, into, branch):
        """Whether the registries say different things: such versions have no union."""
        left, right = (dict(self.ours(ref).manifest.registry) for ref in (into, branch))
        for registry in (left, right):
            registry.pop("dreamdb.tombstones", None)
        return left != right

    @rule(who=WHO, nth=NUMBERS)
    def compact(self, who, nth):
        self.open(who, self.pick(nth)).compact()
        self.step("compact", who)

    @precondition(lambda self: self.changed)
    @rule(who=WHO)
    def gc(self, who):
        if who == THEIRS and not self.backend.startswith("file:"):
            return  # it finds no Refs in a bucket below a prefix
        collect = vd.gc if who == OURS else dreamdb.gc
        with contextlib.redirect_stdout(io.StringIO()):
            collect(self.backend, keep_manifests=1000, dry_run=False, writers_paused=True)
        self.step("gc", who)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def both_see_the_rows(self):
        for ref, model in self.refs.items():
            for who, rows_of in ((OURS, our_rows), (THEIRS, their_rows)):
                found, wanted = rows_of(self.open(who, ref)), model.shown(to=who)
                assert found == wanted, f"{who}, {ref}: {differences(found, wanted)}"
            assert self.theirs(ref).count() == len(model.shown(to=THEIRS))

    @rule(nth=NUMBERS)
    def look_without_a_cache(self, nth):
        ref = self.pick(nth)
        self.names += 1
        assert our_rows(self.ours(ref, f"cache{self.names}")) == self.refs[ref].shown(to=OURS)

    def pick(self, nth):
        return sorted(self.refs)[nth % len(self.refs)]

    def new_name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"


def attempt(verb, *arguments, **options):
    """Return the error with which either SDK refuses, or None."""
    try:
        verb(*arguments, **options)
    except (vd.DreamDBError, RuntimeError) as error:
        return error
    return None


def differences(found, wanted):
    """Return by anchor what is there and what should be."""
    anchors = sorted(found.keys() | wanted.keys())
    return {a: (found.get(a), wanted.get(a)) for a in anchors if found.get(a) != wanted.get(a)}


def plain(value):
    """A value in the form that both SDKs can be compared in."""
    if isinstance(value, np.ndarray | list):
        return np.asarray(value, "f4").tobytes()
    if isinstance(value, np.datetime64) or hasattr(value, "value"):
        return int(getattr(value, "value", None) or value.astype("M8[ns]").astype("i8"))
    return value


def our_rows(ds):
    found = {}
    for batch in ds.iter_arrow_batches():
        table = batch.to_pydict()
        times = {f.name for f in batch.schema if str(f.type).startswith("timestamp")}
        ticks = {name: batch[name].cast("int64").to_pylist() for name in times}
        for nth, anchor in enumerate(table["_anchor"]):
            row = {k: ticks[k][nth] if k in times else plain(v[nth]) for k, v in table.items()}
            found[anchor] = {k: v for k, v in row.items() if v is not None and k not in ("_anchor", "_time")}
    return found


def their_rows(ds):
    found = {}
    for batch in ds.iter_all_batches():
        for nth, anchor in enumerate(batch["_time_anchors"]):
            row = {k: plain(v[nth]) for k, v in batch.items() if k != "_time_anchors" and v[nth] is not None}
            found[anchor] = row
    return found


def run_once(number, *, shrink=False):
    """Do the runs of one seed; a failure says which it was. To find a shorter way to it takes minutes."""
    chosen = settings(
        max_examples=EXAMPLES_A_SEED,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(type("Run", (AlternatingWriters,), {})), settings=chosen)
    except BaseException as error:
        error.add_note(f"seed of this run: --interop-seed {number}")
        raise


def test_both_see_the_same_rows_after_every_step(pytestconfig, capsys):  # 0006-R9, 0008-R9
    fixed = pytestconfig.getoption("--interop-seed")
    if fixed is not None:
        run_once(fixed, shrink=True)
        return
    budget = pytestconfig.getoption("--interop-seconds")
    wanted_steps, wanted_spaces = (
        pytestconfig.getoption("--interop-steps"),
        pytestconfig.getoption("--interop-spaces"),
    )
    began, number = time.monotonic(), time.time_ns() % 2**31 if wanted_spaces else 1
    while time.monotonic() - began < budget or done["steps"] < wanted_steps or done["spaces"] < wanted_spaces:
        run_once(number)
        number += 1
    with capsys.disabled():
        sys.stdout.write(
            f"\n{done['steps']} steps over {done['spaces']} Spaces: {dict(sorted(done.items()))}\n"
        )
    assert done["steps"] > 0
