"""The verbs of a Dataset that look after the cells of its embeddings. Specs 0004 and 0021."""

from __future__ import annotations

from typing import Any

from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.index_status import index_status
from dreamdb_arrow.dataset.reindex import TARGET, ada_ivf_step, rebuild_ivf
from dreamdb_arrow.dataset.reindex_job import Progress


class Indexing(Handle):
    """What a Dataset can do for its cells. A call that writes is one commit, and moves the handle on."""

    def rebuild_ivf(
        self,
        field: str,
        *,
        k: int | None = None,
        seed: int = 0,
        sample: int | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Train the cells of an `ivf-cosine` or `imi-cosine` field from its vectors, and file every row anew.

        Rows that are not flushed yet stay so, and are filed in the new cells by the next flush. Older versions keep their
        cells. A call that was interrupted goes on when it is made again; the same rows and arguments give the same cells,
        so a second call writes nothing.

        Args:
            field: the embedding field.
            k: how many cells, about so many for `imi-cosine`; None for twice the square root of
                the number of rows, or fewer where cells would be nearly empty.
            seed: of the sample and the training.
            sample: about how many rows to train on; None for as many as training takes.
            progress: is told how much of how much has been done.

        Returns `manifest` (None when nothing was written), `index`, and `cells`, `rows`, `mean`, `largest` and `skew` (largest
        by mean) as they were, with `_after` as they are.

        Raises InvalidInputError for a field of another kind, or without rows in cells; ConflictError when somebody else
        makes its cells anew or compacts them meanwhile.
        """
        report = rebuild_ivf(
            self.space.store,
            self.space.cache,
            self._ref,
            field,
            k=k,
            seed=seed,
            sample=sample,
            progress=progress,
            clock=self._clock,
        )
        self._version = self.space.resolve(self._ref)
        return report

    def ada_ivf_step(
        self,
        field: str,
        *,
        stage: str | None = None,
        target: float = TARGET,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Cut the cells of an `ivf-cosine` field that hold too much, give up small ones, and file the rows of these anew.

        Nothing happens when no cell holds more than `target` times the mean. The four stages may run as processes of
        their own that share a cache folder; each can be killed and run again, and only the last one changes the Ref.

        Args:
            field: the embedding field.
            stage: `measure`, `plan`, `refile` or `publish`; None for all that are left.
            target: how many times the mean the largest cell may hold; `measure` takes it for the stages after it.
            seed: of the sample and the training, likewise.
            progress: is told how much of how much has been done.

        Returns what `rebuild_ivf` does, as far as it is known; `rows_compared` is how many rows all cells were tried for.

        Raises as `rebuild_ivf` does, and InvalidInputError when a stage before has not been run.
        """
        report = ada_ivf_step(
            self.space.store,
            self.space.cache,
            self._ref,
            field,
            stage=stage,
            target=target,
            seed=seed,
            progress=progress,
            clock=self._clock,
        )
        self._version = self.space.resolve(self._ref)
        return report

    def index_status(self, field: str, *, sample: int = 64, nprobe: int | None = None) -> dict[str, Any]:
        """Return how the index of an embedding field is: its cells, the rows in them, and what a search finds.

        Args:
            field: the embedding field.
            sample: how many rows to search for, exactly and by cells, to estimate recall; 0 for no estimate.
            nprobe: how many cells such a search reads; None for the reference's 32.

        Returns `field`, `algorithm`, `metric`, `dim`, `cells`, `filled`, `rows`, `mean`, `largest`, `skew`, `buckets`, `bytes`
        (of buckets), `code_bytes` (of codes), `unflushed` rows, `nprobe`, `recall` (of the 10 nearest) and `sampled`; None
        where it cannot be told. Raises InvalidInputError for a field that is no embedding.
        """
        return index_status(self._rows, field, sample=sample, nprobe=nprobe)
