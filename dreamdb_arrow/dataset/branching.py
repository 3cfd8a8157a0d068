"""The verbs of a Dataset that join branches and keep its Tracks small, in the reference's words. Specs 0006 and 0008."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dreamdb_arrow.dataset.compact import as_dict, compact_tracks
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.merge import FAST_FORWARD, merge_ref, merge_refs
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import delete_ref


class Branching(Handle):
    """What a Dataset can do with other Refs, and with the shape of its own. Calls move the handle on."""

    def merge(self, other_ref_name: str, strategy: str = FAST_FORWARD) -> str:
        """Bring another Ref's rows into this one and return the new version.

        Args:
            other_ref_name: a branch of this dataset, or a snapshot of one.
            strategy: `fast-forward` moves this Ref to the other's version, and is refused when this Ref has commits that
                the other has not. `union-tracks` writes a version with two parents that has the rows of both; a row
                that is deleted on either side stays deleted. Of different values at one anchor the larger shows, of
                media the other Ref's.

        Raises MergeError, and writes nothing, where both cannot become one: schema, metadata or constants differ.
        """
        self._version = merge_ref(self.space.store, self._ref, other_ref_name, strategy, self._clock)
        return str(self._version)

    def merge_many(self, branches: Iterable[str]) -> str:
        """Bring the rows of several branches into this one by unions, one commit each; return the last version.

        What was merged before a failure stays; calling again with the same branches goes on from there.
        """
        try:
            self._version = merge_refs(self.space.store, self._ref, branches, self._clock)
        except BaseException:
            self._version = self.space.resolve(self._ref)
            raise
        return str(self._version)

    def compact(self, modality: str | None = None, threshold: int = 1) -> dict[str, Any]:
        """Bring the many small buckets of many appends together; no row changes.

        Args:
            modality: of one Track; None for all scalar fields and embeddings.
            threshold: leave columns and cells that have no more buckets than that.

        Returns `manifest` (None when nothing was over the threshold: then nothing is written), `cells_examined`,
        `cells_compacted` and `fragments_collapsed`.
        """
        report = compact_tracks(self.space.store, self._ref, modality, threshold, self._clock)
        self._version = self.space.resolve(self._ref)
        return as_dict(report)

    def delete_ref(self, name: str) -> None:
        """Delete a branch or a snapshot; what only it named can then be collected by `gc`.

        Raises InvalidInputError for the Ref that this dataset is on, RefNotFoundError.
        """
        if name == self._ref:
            raise InvalidInputError(
                f"this dataset is on {name!r}; open another ref, and delete it from there"
            )
        delete_ref(self.space.store, name)
