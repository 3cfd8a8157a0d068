"""The verbs of a Dataset that join branches and keep its Tracks small, in the reference's words. Specs 0006 and 0008."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa

from dreamdb_arrow.dataset.compact import compact_ref
from dreamdb_arrow.dataset.compact_stripes import Progress
from dreamdb_arrow.dataset.diff import diff_rows
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.merge import FAST_FORWARD, merge_ref, merge_refs
from dreamdb_arrow.dataset.revert import revert_ref
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.refs import delete_ref
from dreamdb_arrow.history.registries import ERROR


class Branching(Handle):
    """What a Dataset can do with other Refs, and with the shape of its own. Calls move the handle on."""

    def merge(self, other_ref_name: str, strategy: str = FAST_FORWARD, conflicts: str = ERROR) -> str:
        """Bring another Ref's rows into this one and return the new version.

        Args:
            other_ref_name: a branch of this dataset, or a snapshot of one.
            strategy: `fast-forward` moves this Ref to the other's version, and is refused when this Ref has commits that
                the other has not. `union-tracks` writes a version with two parents that has the rows of both; a row
                that is deleted on either side stays deleted. What one side alone changed since both parted, of the schema
                or the metadata, is taken from it.
            conflicts: what to do where both sides changed one thing, each in its own way: rows of one anchor with
                different values, metadata, constants. `error` names them; `ours` and `theirs` say whose value counts.

        Raises MergeError, and writes nothing, where both cannot become one.
        """
        self._version = merge_ref(self.space, self._ref, other_ref_name, strategy, conflicts, self._clock)
        return str(self._version)

    def merge_many(self, branches: Iterable[str], conflicts: str = ERROR) -> str:
        """Bring the rows of several branches into this one by unions; return the last version.

        Branches that left this Ref at one version and share no row become one commit, with all of them as parents. Others become
        one commit each: what was merged before a failure stays; calling again with the same branches goes on from there.
        """
        try:
            self._version = merge_refs(self.space, self._ref, branches, conflicts, self._clock)
        except BaseException:
            self._version = self.space.resolve(self._ref)
            raise
        return str(self._version)

    def revert(self, version: str | datetime | int) -> str:
        """Make a new version that is as an old one was: schema, rows, deletions, metadata; return it.

        Nothing is undone: the versions since stay in the history, and a later revert can bring them back. Rows that were
        deleted since come back.

        Args:
            version: a snapshot's label, a version's address, or a time, as `open` takes it under `as_of`.

        Raises NotFoundError where there is no such version any more, InvalidInputError for one of another dataset.
        """
        self._version = revert_ref(self.space, self._ref, version, self._clock)
        return str(self._version)

    def diff(self, other: str | Handle) -> pa.RecordBatchReader:
        """Return what changed from this version to another one, ascending by anchor.

        Args:
            other: another handle; a Ref, a Ref's snapshot or time (`hello@first`, `hello@2026-11-23`), or an address.

        Columns: `_anchor`; `change`, one of `added`, `deleted`, `changed`; `fields`, the names of the fields whose values
        changed. Fields that were added, dropped or made anew come first, without an anchor, as `field added` and so on. What both
        versions share is not read, and no more than some windows of rows are in memory.

        Raises InvalidInputError for a version of another dataset, NotFoundError.
        """
        version = other.version if isinstance(other, Handle) else self.space.find(other)
        return diff_rows(self._rows, self.space.rows(version))

    def compact(
        self,
        modality: str | None = None,
        threshold: int = 1,
        *,
        stripes: bool = True,
        tracks: bool = True,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Bring together what many appends have left in many small pieces; no row changes.

        Stripes become few large ones in the order of time, with just the columns of the schema: values of layers and rows
        that others appended lie in them then, deleted rows do not. Of Tracks, the small buckets become one. Older versions
        keep what they had until `gc`. What is compact stays as it is, so calling again goes on after an interruption.

        Args:
            modality: compact this one Track only, and no stripes.
            threshold: leave columns and cells of Tracks that have no more buckets than that.
            stripes: compact stripes, if the dataset has any.
            tracks: compact the Tracks of all scalar fields and embeddings.
            progress: is told how many stripes of how many have been written anew.

        Returns `manifest` (None when nothing was written); of Tracks `cells_examined`, `cells_compacted` and
        `fragments_collapsed`; and `stripes_before`, `stripes_after` (those of vectors among them), `rows_dropped` (deleted
        ones) and `bytes_written`.

        Raises UnsupportedError while a field has rows in a hot buffer, AnchorConflict for two vectors at one anchor; with
        `tracks=False` these do not matter.
        """
        try:
            return compact_ref(
                self.space,
                self._ref,
                modality,
                threshold,
                stripes=stripes,
                tracks=tracks,
                progress=progress,
                clock=self._clock,
            )
        finally:
            self._version = self.space.resolve(self._ref)

    def delete_ref(self, name: str) -> None:
        """Delete a branch or a snapshot; what only it named can then be collected by `gc`.

        Raises InvalidInputError for the Ref that this dataset is on, RefNotFoundError.
        """
        if name == self._ref:
            raise InvalidInputError(
                f"this dataset is on {name!r}; open another ref, and delete it from there"
            )
        delete_ref(self.space.store, name)
