"""Search: the ten nearest at a recall of 0.95, one query and a thousand, with conditions, through Python and SQL; beside FAISS
and Lance. Each gets the least effort that reaches it on the first 200 queries. Single queries are asked one after the other, 200
in a row, in three rounds that take turns; the median of the best round counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import count
from typing import Any, Final

import numpy as np
import pyarrow as pa

import dreamdb_arrow as vd
from benchmarks.measure import Figure, alternate, fresh, median, milliseconds, turns
from benchmarks.sizes import Setup
from benchmarks.vectors import CATEGORIES, Corpus, K, corpora, exact, our_space, recall

JOB: Final = "search"
OURS, FAISS, LANCE = "ours", "faiss", "lance"
RECALL: Final = 0.95
EFFORTS: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512)  # cells
RECALLS: Final = (0.9, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)  # that our searches are told to reach
TUNED_ON: Final = 200
IN_A_ROW: Final = 200
ROUNDS: Final = 3
MIXTURE_DIM: Final = 128
MANY_ROWS: Final = 500_000  # above which fewer cells do
Answer = Callable[[np.ndarray], np.ndarray]  # queries (q, d) -> rows (q, K)


def run(setup: Setup) -> Iterator[Figure]:
    """Yield seconds of building, milliseconds and queries a second, corpus by corpus."""
    sizes = setup.sizes
    for corpus in corpora(sizes.search_rows, sizes.search_queries, made=sizes.mixture_rows, dim=MIXTURE_DIM):
        yield from _Run(setup, corpus).figures()


class _Run:
    """One corpus, and everybody's index of it."""

    def __init__(self, setup: Setup, corpus: Corpus) -> None:
        self.setup, self.corpus = setup, corpus
        self.cells = max(
            2, int((4 if len(corpus.vectors) <= MANY_ROWS else 1.5) * len(corpus.vectors) ** 0.5)
        )
        self.work = fresh(setup.work / JOB / corpus.name)
        self.work.mkdir()
        self.true = exact(corpus)

    def figures(self) -> Iterator[Figure]:
        name = self.corpus.name
        self.setup.say(f"{JOB}: {name}: building")
        seconds, self.ours = _timed(lambda: our_space(self.corpus, self.work / "space", self.cells))
        yield Figure(JOB, f"{name}: build", OURS, seconds, "s", f"{self.cells:,} cells")
        makers: dict[str, Callable[[Any], Answer]] = {OURS: self._ours}
        for peer, build in ((FAISS, self._build_faiss), (LANCE, self._build_lance)):
            if peer in self.setup.peers:
                self.setup.say(f"{JOB}: {name}: building {peer}")
                seconds, makers[peer] = _timed(build)
                yield Figure(JOB, f"{name}: build", peer, seconds, "s")
        answers = {}
        for who, maker in makers.items():
            effort, found = self._tune(who, maker)
            answers[who] = maker(effort)
            yield Figure(
                JOB,
                f"{name}: recall",
                who,
                found,
                "",
                f"recall := {effort}" if who == OURS else f"{effort} cells",
            )
        yield from self._unfiltered(answers)
        yield from self._in_sql(answers)
        yield from self._filtered()

    def _tune(self, who: str, maker: Callable[[Any], Answer]) -> tuple[Any, float]:
        """Return the least effort that is enough, and what it finds of all queries."""
        for effort in RECALLS if who == OURS else EFFORTS:
            head = recall(maker(effort)(self.corpus.queries[:TUNED_ON]), self.true[:TUNED_ON])
            if head >= RECALL + 0.002 or effort >= self.cells:
                break
        return effort, recall(maker(effort)(self.corpus.queries), self.true)

    # ---------------------------------------------------------------- makers

    def _ours(self, effort: float) -> Answer:
        first = int(self.corpus.anchors[0])
        step = int(self.corpus.anchors[1]) - first

        def answer(queries: np.ndarray) -> np.ndarray:
            one = queries[0] if len(queries) == 1 else queries
            return (np.atleast_2d(self.ours.search("v", one, K, recall=effort).anchors) - first) // step

        return answer

    def _build_faiss(self) -> Callable[[int], Answer]:
        faiss = import_module("faiss")
        index = faiss.index_factory(
            self.corpus.vectors.shape[1], f"IVF{self.cells},Flat", faiss.METRIC_INNER_PRODUCT
        )
        index.train(self.corpus.vectors)
        index.add(self.corpus.vectors)

        def make(effort: int) -> Answer:
            parameters = faiss.SearchParametersIVF(nprobe=effort)
            return lambda queries: index.search(queries, K, params=parameters)[1]

        return make

    def _build_lance(self) -> Callable[[int], Answer]:
        lance = import_module("lance")
        table, dim = self.corpus.table(), self.corpus.vectors.shape[1]
        dataset = lance.write_dataset(table, self.work / "lance")
        parts = next(m for m in range(dim // 4, 0, -1) if dim % m == 0)
        how = {"num_partitions": int(len(self.corpus.vectors) ** 0.5), "num_sub_vectors": parts}
        self.lance = dataset.create_index("v", "IVF_PQ", metric="cosine", **how)

        def one(query: np.ndarray, effort: int) -> np.ndarray:
            near = {"column": "v", "q": query, "k": K, "nprobes": effort, "refine_factor": 20}
            return self.lance.to_table(columns=["n", "_distance"], nearest=near)["n"].to_numpy()

        def make(effort: int) -> Answer:
            def answer(queries: np.ndarray) -> np.ndarray:
                if len(queries) == 1:
                    return one(queries[0], effort)[None, :]
                with ThreadPoolExecutor(4) as pool:
                    return np.stack(list(pool.map(lambda q: one(q, effort), queries)))

            return answer

        return make

    # ---------------------------------------------------------------- figures

    def _unfiltered(self, answers: dict[str, Answer]) -> Iterator[Figure]:
        name, queries = self.corpus.name, self.corpus.queries
        yield from self._singles(f"{name}: one query", {w: _one(a, queries) for w, a in answers.items()})
        calls = {who: (lambda a=answer: a(queries)) for who, answer in answers.items()}
        for who, taken in alternate(calls, max(1, self.setup.sizes.rounds // 3)).items():
            yield Figure(
                JOB, f"{name}: {len(queries)} queries", who, len(queries) / median(taken) * 1e3, "queries/s"
            )

    def _in_sql(self, answers: dict[str, Answer]) -> Iterator[Figure]:
        name, queries = self.corpus.name, self.corpus.queries
        effort, _ = self._tune(OURS, self._ours)
        con = vd.connect(str(self.work / "space"), cache_dir=self.work / "cache")
        text = f"SELECT category, n, _distance FROM dreamdb_search('bench', 'v', ?, k := {K}, recall := {effort})"
        asked = _one(lambda q: con.execute(text, [q[0]]).fetchall(), queries)
        yield from self._singles(f"{name}: one query in SQL, with two columns", {OURS: asked})
        con.register("queries", _queries(queries))
        lateral = (
            "SELECT sum(h._distance) FROM queries q, "
            f"dreamdb_knn('bench', 'v', q.v, k := {K}, recall := {effort}) h"
        )
        calls: dict[str, Any] = {OURS: lambda: con.execute(lateral).fetchall()}
        if LANCE in answers:
            calls[LANCE] = lambda: answers[LANCE](queries)
        for who, taken in alternate(calls, max(1, self.setup.sizes.rounds // 3)).items():
            yield Figure(
                JOB,
                f"{name}: {len(queries)} queries as a join",
                who,
                len(queries) / median(taken) * 1e3,
                "queries/s",
            )
        con.close()

    def _filtered(self) -> Iterator[Figure]:
        name, queries, n = self.corpus.name, self.corpus.queries[:100], len(self.corpus.vectors)
        low, high = int(n * 0.37), int(n * 0.37) + max(K, n // CATEGORIES)
        t0, t1 = int(self.corpus.anchors[low]), int(self.corpus.anchors[high])
        con = vd.connect(str(self.work / "space"), cache_dir=self.work / "cache")
        rows = np.arange(n)
        for what, keep, options, sql in (
            (
                "category",
                self.corpus.categories == 7,
                {"where_eq": {"category": "c07"}},
                "filter := 'category = ''c07'''",
            ),
            (
                "time",
                (rows >= low) & (rows < high),
                {"start_ns": t0, "end_ns": t1},
                f"t0 := {t0}, t1 := {t1}",
            ),
        ):
            text = f"SELECT n FROM dreamdb_search('bench', 'v', ?, k := {K}, recall := 0.95, {sql})"
            ways = {
                "Python": lambda q, o=options: self.ours.search("v", q[0], K, recall=0.95, **o),
                "SQL": lambda q, s=text: con.execute(s, [q[0]]).fetchall(),
            }
            true = exact(Corpus(name, self.corpus.vectors, queries, self.corpus.categories), keep)
            found = np.array([[n for (n,) in con.execute(text, [q]).fetchall()] for q in queries])
            yield Figure(JOB, f"{name}: recall within 1% ({what})", OURS, recall(found, true), "")
            for way, call in ways.items():
                yield from self._singles(f"{name}: within 1% ({what}), {way}", {OURS: _one(call, queries)})
        con.close()

    def _singles(self, name: str, calls: dict[str, Callable[[], object]]) -> Iterator[Figure]:
        in_a_row = IN_A_ROW if self.setup.sizes.rounds > 1 else 3
        best = dict.fromkeys(calls, float("inf"))
        for order in turns(calls, ROUNDS):
            for who in order:
                calls[who]()
                best[who] = min(best[who], median([milliseconds(calls[who]) for _ in range(in_a_row)]))
        for who, taken in best.items():
            yield Figure(JOB, name, who, taken, "ms")


def _one(answer: Callable[[np.ndarray], object], queries: np.ndarray) -> Callable[[], object]:
    """Return a call that asks for the next query, again and again."""
    turn = count()

    def call() -> object:
        at = next(turn) % len(queries)
        return answer(queries[at : at + 1])

    return call


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    held: list[Any] = []
    taken = milliseconds(lambda: held.append(call()))
    return taken / 1e3, held[0]


def _queries(queries: np.ndarray) -> Any:
    values = pa.ListArray.from_arrays(
        np.arange(0, queries.size + 1, queries.shape[1], dtype=np.int32), pa.array(queries.reshape(-1))
    )
    return pa.table({"v": values})
