"""The verbs of a Dataset that concern arrays, in the reference's words. Specs 0007 and 0017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from dreamdb_arrow.codec.address import Address
from dreamdb_arrow.columnar.arrays import COLUMN_INDICES, ROW_OFFSETS, VALUES, items_of_arrow
from dreamdb_arrow.columnar.projection import row_entry
from dreamdb_arrow.columnar.vendor import add_track, read_track
from dreamdb_arrow.dataset.array_fields import array_field
from dreamdb_arrow.dataset.array_values import sample_arrays
from dreamdb_arrow.dataset.columns import find_field
from dreamdb_arrow.dataset.evolve import add_field, check_beside, schema_with
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.schema import Schema
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.history.commit import Change, Clock, commit
from dreamdb_arrow.objects.array_item import CsrItems, DenseItems, Items
from dreamdb_arrow.objects.array_type import DENSE, RAW
from dreamdb_arrow.objects.manifest import Manifest, TrackEntry
from dreamdb_arrow.objects.schema import SCHEMA_KEY, Field, is_constant, item_type_of, modality_of
from dreamdb_arrow.store.batch import Batch
from dreamdb_arrow.store.interface import Store
from dreamdb_arrow.tracks.arrays import fetch_array_parts, read_array_items
from dreamdb_arrow.tracks.constants import read_array_constant, write_array_constant


class Arrays(Handle):
    """What a Dataset can do with arrays. Each call that writes is one commit, and moves the handle on."""

    if TYPE_CHECKING:

        def take(self, anchors: Any, fields: Sequence[str] | None = None) -> pa.Table:
            """Return the live rows of these anchors."""

    def add_array(
        self, name: str, dtype: str, shape: Sequence[int], *, required: bool = False, **options: Any
    ) -> Self:
        """Add a field of arrays, empty so far; the options are those of `Schema.add_array`."""
        return self._add_array(Schema().add_array(name, dtype, shape, required=required, **options))

    def add_ragged_array(
        self,
        name: str,
        dtype: str,
        inner_shape: Sequence[int] = (),
        *,
        required: bool = False,
        **options: Any,
    ) -> Self:
        """Add a field of ragged arrays; the options are those of `Schema.add_array`."""
        return self._add_array(
            Schema().add_ragged_array(name, dtype, inner_shape, required=required, **options)
        )

    def add_sparse_csr(
        self, name: str, dtype: str, shape: Sequence[int], *, required: bool = False, **options: Any
    ) -> Self:
        """Add a field of sparse matrices; the options are those of `Schema.add_array`."""
        return self._add_array(Schema().add_sparse_csr(name, dtype, shape, required=required, **options))

    def _add_array(self, declared: Schema) -> Self:
        self._version = add_field(self.space.store, self._ref, declared.fields[0], self._clock)
        return self

    def add_array_constant(
        self,
        field_name: str,
        value: Any,
        *,
        dtype: str,
        shape: Sequence[int],
        family: str = DENSE,
        codec: str = RAW,
        **options: str,
    ) -> None:
        """Give the whole timeline one array.

        Args:
            field_name: the new field.
            value: as `append_many` takes it.
            dtype: f32 f64 i8 i16 i32 i64 u8 u16 u32 u64.
            shape: the size of each dimension; of ragged arrays, that of a cell.
            family: dense-array, ragged-array (with the codec offsets-values) or sparse-csr.
            codec: raw, npy or offsets-values.
            options: endianness, layout, semantic_type, units, frame, axis_order, as `Schema.add_array` has them.
        """
        new = array_field(
            field_name,
            dtype,
            shape,
            family=family,
            track_kind="constant",
            object_kind="constant",
            required=False,
            codec=codec,
            **options,
        )
        self._version = add_array_constant(self.space.store, self._ref, new, value, self._clock)

    def get_array_constant(self, field_name: str) -> Any:
        """Return the value of an array constant, in the form of `get_array_item`."""
        f = find_field(self._rows, field_name, ("array",))
        entry = row_entry(self._rows.manifest, field_name)
        if entry is None or not is_constant(f):
            raise InvalidInputError(f"field {field_name!r} is no array constant; its values are rows")
        store = self.space.store
        return only_item(read_array_constant(store, read_track(store, entry), item_type_of(f)))

    def get_array_item(self, field_name: str, anchor: int) -> Any:
        """Return the array of one row, None when the row, or its value, is missing.

        A dense array is an ndarray; of ragged and sparse ones the parts come by name: row_offsets, values, and
        column_indices.
        """
        f = find_field(self._rows, field_name, ("array",))
        if is_constant(f):
            raise InvalidInputError(f"field {field_name!r} is a constant: use get_array_constant")
        column = self.take([anchor], [field_name])[field_name].combine_chunks()
        if len(column) == column.null_count:
            return None
        return only_item(items_of_arrow(item_type_of(f), column))

    def audit_array_field(self, field_name: str) -> int:
        """Read every item of the field's Track and check it; return how many there are.

        Rows that no flush has seen are in stripes, and not counted. Raises CorruptDataError for an item that is damaged.
        """
        f = find_field(self._rows, field_name, ("array",))
        entry = row_entry(self._rows.manifest, field_name)
        if entry is None or is_constant(f):
            raise InvalidInputError(f"field {field_name!r} has no items at anchors")
        store = self.space.store
        track = read_track(store, entry)
        return sum(map(len, fetch_array_parts(store, track, item_type_of(f), read_array_items(store, track))))


def add_array_constant(store: Store, name: str, new: Field, value: Any, clock: Clock) -> Address:
    """Add an array constant with its value; return the new version.

    Raises InvalidInputError when the name is taken, the value does not fit, or another constant has the type.
    """
    of, modality = item_type_of(new), modality_of(new)

    def build(parent: Manifest, _: Address, batch: Batch) -> Change:
        check_beside(parent, new)
        if rival := next((e.field for e in parent.tracks.active if e.modality == modality), None):
            raise InvalidInputError(
                f"constant {rival!r} has this type already; a timeline has one of each, so change units or frame"
            )
        if value is None:
            raise InvalidInputError(f"field {new.name!r}: a constant has a value")
        item = items_of_arrow(of, sample_arrays(new, [value]))
        track = write_array_constant(batch, parent.timeline, modality, of, item).track
        entry = TrackEntry(
            "constant", "base", new.name, add_track(batch, track), track.coverage, modality, track.timeline
        )
        registry = {modality: {"item_type": new.options["item_type"]}, SCHEMA_KEY: schema_with(parent, [new])}
        return Change("add_array_constant", (entry,), registry)

    return commit(store, name, build, clock=clock)[0]


def only_item(items: Items) -> Any:
    """Return the one item there is, in the reference's form."""
    if isinstance(items, DenseItems):
        return items.values[0]
    if isinstance(items, CsrItems):
        return {
            ROW_OFFSETS: items.row_offsets[0],
            COLUMN_INDICES: items.column_indices,
            VALUES: items.values,
        }
    return {ROW_OFFSETS: np.r_[0, np.cumsum(items.lengths)].astype(np.uint64), VALUES: items.values}
