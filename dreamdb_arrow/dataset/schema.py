"""Schemas: which fields a dataset has, said in the reference's words. Spec 0001."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

import pyarrow as pa

from dreamdb_arrow.columnar.arrays import column_type
from dreamdb_arrow.columnar.projection import dim_of
from dreamdb_arrow.columnar.stripe import ANCHOR, BLOB_KINDS, MEDIA_KINDS, SCALAR_TYPES, TIME, find_clash
from dreamdb_arrow.dataset.array_fields import array_field, array_metadata, describe_array
from dreamdb_arrow.errors import InvalidInputError
from dreamdb_arrow.objects.array_type import CSR, DENSE, OFFSETS, RAGGED, RAW
from dreamdb_arrow.objects.schema import Field, check_new_field
from dreamdb_arrow.objects.spatial_index import MAX_DIM
from dreamdb_arrow.spatial.partitioners import check_count

PARTITION_ALGORITHMS: Final = (
    "dreamdb.lsh-cosine",
    "dreamdb.lsh-l2",
    "dreamdb.ivf-cosine",
    "dreamdb.imi-cosine",
)
BUCKET_BYTES: Final = range(1 << 20, (500 << 20) + 1)
RESERVED_NAMES: Final = frozenset({ANCHOR, TIME, "_distance", "_time_anchors"})


@dataclass(slots=True)
class Schema:
    """The fields of a dataset, added one by one; each `add_` returns the schema, so that calls chain.

    Example:
        >>> Schema().add_image("image").add_scalar_categorical("label").names
        ['image', 'label']
    """

    fields: list[Field] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the fields, in the order they were added."""
        return [f.name for f in self.fields]

    def __repr__(self) -> str:
        return f"Schema({', '.join(describe(f) for f in self.fields)})"

    def __len__(self) -> int:
        return len(self.fields)

    def add_image(
        self,
        name: str,
        mime: str = "jpeg",
        required: bool = True,
        chunk_size: int | None = None,
        pack_items: int | None = None,
    ) -> Self:
        """Add images; `pack_items` of one append share an object, `chunk_size` cuts large ones."""
        return self._add_media("image", name, mime, required, chunk_size, pack_items)

    def add_audio(
        self,
        name: str,
        mime: str = "wav",
        required: bool = True,
        chunk_size: int | None = None,
        pack_items: int | None = None,
    ) -> Self:
        """Add audio items."""
        return self._add_media("audio", name, mime, required, chunk_size, pack_items)

    def add_video(
        self,
        name: str,
        mime: str = "mp4",
        required: bool = True,
        chunk_size: int | None = None,
        pack_items: int | None = None,
    ) -> Self:
        """Add video items."""
        return self._add_media("video", name, mime, required, chunk_size, pack_items)

    def add_embedding(
        self,
        name: str,
        dim: int,
        algorithm: str = "dreamdb.lsh-cosine",
        required: bool = True,
        lsh_bits: int | None = None,
        compressor: bytes | None = None,
        spatial_index: bytes | None = None,
        rerank: bool = False,
        bucket_max_bytes: int | None = None,
    ) -> Self:
        """Add vectors of `dim` float32 numbers.

        Args:
            name: the field.
            dim: how many numbers a vector has.
            algorithm: how vectors become cells: `dreamdb.lsh-cosine`, `lsh-l2`, `ivf-cosine` or `imi-cosine`.
                IVF and IMI without a `spatial_index` are trained by the first flush that finds 256 rows.
            required: whether every row has one.
            lsh_bits: hyperplanes of `lsh-cosine`, 20 unless given.
            compressor: address of a published VectorCompressor; the cells then hold codes, beside the exact vectors
                if `rerank` is set.
            spatial_index: address of a published SpatialIndex of this algorithm.
            rerank: keep the exact vectors beside the cells.
            bucket_max_bytes: where a cell's bucket is cut: 1 MiB to 500 MiB, 100 MiB unless given.
        """
        if algorithm not in PARTITION_ALGORITHMS:
            raise InvalidInputError(
                f"unknown algorithm {algorithm!r}; use one of {', '.join(PARTITION_ALGORITHMS)}"
            )
        if check_count(f"dim of {name!r}", dim) > MAX_DIM:
            raise InvalidInputError(f"dim of {name!r} must be 1 to {MAX_DIM}, not {dim}")
        if algorithm == "dreamdb.lsh-l2" and (rerank or compressor or lsh_bits not in (None, 64)):
            raise InvalidInputError(
                f"{algorithm} takes no rerank, compressor or lsh_bits other than 64 ({name!r})"
            )
        if bucket_max_bytes is not None and (
            check_count(f"bucket_max_bytes of {name!r}", bucket_max_bytes) not in BUCKET_BYTES  # 0007-R10
        ):
            raise InvalidInputError(
                f"bucket_max_bytes of {name!r} must be {BUCKET_BYTES[0]} to {BUCKET_BYTES[-1]}, not {bucket_max_bytes!r}"
            )
        options = {
            "dim": dim,
            "algorithm": algorithm,
            "lsh_bits": lsh_bits,
            "compressor": compressor,
            "spatial_index": spatial_index,
            "rerank": rerank or None,
            "bucket_max_bytes": bucket_max_bytes,
        }
        return self._add("embedding", name, required, options)

    def add_scalar_int(self, name: str, required: bool = True) -> Self:
        """Add 64-bit integers."""
        return self._add("scalar", name, required, {"value_type": "int"})

    def add_scalar_float(self, name: str, required: bool = True) -> Self:
        """Add 64-bit floats; NaN and infinities are refused."""
        return self._add("scalar", name, required, {"value_type": "float"})

    def add_scalar_string(self, name: str, required: bool = True) -> Self:
        """Add texts of up to 8192 bytes of UTF-8."""
        return self._add("scalar", name, required, {"value_type": "string"})

    def add_scalar_categorical(self, name: str, required: bool = True) -> Self:
        """Add texts out of a small set."""
        return self._add("scalar", name, required, {"value_type": "categorical"})

    def add_scalar_bool(self, name: str, required: bool = True) -> Self:
        """Add truth values."""
        return self._add("scalar", name, required, {"value_type": "bool"})

    def add_scalar_timestamp(self, name: str, required: bool = True) -> Self:
        """Add times, in nanoseconds since 1970."""
        return self._add("scalar", name, required, {"value_type": "timestamp"})

    def add_array(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        *,
        endianness: str = "little",
        layout: str = "c",
        codec: str = RAW,
        semantic_type: str = "none",
        units: str = "none",
        frame: str = "none",
        axis_order: str = "none",
        track_kind: str = "event",
        object_kind: str = "unbucketed",
        required: bool = True,
        family: str = DENSE,
    ) -> Self:
        """Add arrays of numbers of one shape; columns are numbers for shape [], else nested lists.

        Args:
            name: the field.
            dtype: f32 f64 i8 i16 i32 i64 u8 u16 u32 u64.
            shape: the size of each dimension.
            endianness: of the stored numbers: little or big.
            layout: c (rows first) or f (columns first), as they are stored.
            codec: raw numbers, or npy for NPY files.
            semantic_type: what the numbers mean; told to readers, as are the next three.
            units: what they are measured in.
            frame: the coordinate frame they are in.
            axis_order: what the dimensions are.
            track_kind: event, or continuous with the object_kind time-batch.
            object_kind: unbucketed or time-batch.
            required: whether every row has one.
            family: dense-array, ragged-array or sparse-csr.
        """
        if track_kind == "constant":
            raise InvalidInputError(f"a constant comes with its value: use add_array_constant({name!r}, ...)")
        return self.add(
            array_field(
                name,
                dtype,
                shape,
                endianness=endianness,
                layout=layout,
                codec=codec,
                semantic_type=semantic_type,
                units=units,
                frame=frame,
                axis_order=axis_order,
                track_kind=track_kind,
                object_kind=object_kind,
                required=required,
                family=family,
            )
        )

    def add_ragged_array(
        self, name: str, dtype: str, inner_shape: Sequence[int] = (), **options: Any
    ) -> Self:
        """Add lists of rows of any length, of cells of one shape; the options are those of `add_array`."""
        return self.add_array(name, dtype, inner_shape, family=RAGGED, codec=OFFSETS, **options)

    def add_sparse_csr(self, name: str, dtype: str, shape: Sequence[int], **options: Any) -> Self:
        """Add sparse matrices of one shape, as structs of row_offsets, column_indices and values."""
        return self.add_array(name, dtype, shape, family=CSR, **options)

    def _add_media(
        self, kind: str, name: str, mime: str, required: bool, chunk_size: int | None, pack_items: int | None
    ) -> Self:
        for what, value in (("chunk_size", chunk_size), ("pack_items", pack_items)):
            if value is not None:
                check_count(f"{what} of {name!r}", value)
        options = {"mime": mime, "chunk_size": chunk_size, "pack_items": pack_items}
        return self._add(kind, name, required, options)

    def _add(self, kind: str, name: str, required: bool, options: Mapping[str, Any]) -> Self:
        given = {k: v for k, v in options.items() if v is not None}
        return self.add(Field(kind, name, required, given))

    def add(self, new: Field) -> Self:
        """Add a field that is declared in full. Raises InvalidInputError when it cannot stand beside the others."""
        if new.name in RESERVED_NAMES:
            raise InvalidInputError(f"{new.name!r} is a reserved name; choose another for the field")
        if new.name in self.names:
            raise InvalidInputError(f"field {new.name!r} is there already")
        if clash := find_clash([*self.names, new.name]):
            raise InvalidInputError(
                f"engines cannot tell {clash[1]!r} from {clash[0]!r}; choose another name"
            )
        self.fields.append(check_new_field(new))
        return self


SCALAR_METHODS: Final = {
    "int": Schema.add_scalar_int,
    "float": Schema.add_scalar_float,
    "string": Schema.add_scalar_string,
    "categorical": Schema.add_scalar_categorical,
    "bool": Schema.add_scalar_bool,
    "timestamp": Schema.add_scalar_timestamp,
}


def describe(f: Field) -> str:
    """Return a field in a few characters: `label: categorical`, `embedding: embedding[512]?`."""
    if f.kind == "array":
        return f"{f.name}: {describe_array(f)}{'' if f.required else '?'}"
    kind = {"scalar": f.options.get("value_type"), "embedding": f"embedding[{f.options.get('dim')}]"}
    text = (
        kind.get(f.kind) or f"{f.kind}/{f.options['mime']}"
        if f.kind in MEDIA_KINDS
        else kind.get(f.kind, f.kind)
    )
    return f"{f.name}: {text}{'' if f.required else '?'}"


def public_type(f: Field) -> pa.DataType | None:
    """Return the Arrow type in which users meet a field, or None for a field that is no column."""
    if f.kind == "scalar":
        return SCALAR_TYPES.get(str(f.options.get("value_type")))
    if f.kind == "embedding":
        return pa.list_(pa.float32(), dim_of(f))
    if f.kind == "array":
        return column_type(f)
    return pa.large_binary() if f.kind in BLOB_KINDS else None


def row_fields(fields: Iterable[Field], unavailable: Mapping[str, str]) -> list[Field]:
    """Return the fields that are columns of a scan."""
    return [f for f in fields if f.name not in unavailable and public_type(f) is not None]


def arrow_schema(fields: Iterable[Field], unavailable: Mapping[str, str] = MappingProxyType({})) -> pa.Schema:
    """Return the schema of a scan: `_anchor`, `_time`, then the fields, with what they are as metadata."""
    columns = [
        pa.field(
            ANCHOR, pa.int64(), nullable=False, metadata={"dreamdb.kind": "anchor", "dreamdb.unit": "ns"}
        ),
        pa.field(TIME, pa.timestamp("ns"), nullable=False, metadata={"dreamdb.kind": "time"}),
    ]
    columns += [
        pa.field(f.name, public_type(f), metadata=field_metadata(f)) for f in row_fields(fields, unavailable)
    ]
    return pa.schema(columns)


def field_metadata(f: Field) -> dict[str, str]:
    """Return what the Arrow schema says of a field: its kind and those options that are text or numbers."""
    told = {k: v for k, v in f.options.items() if isinstance(v, str | int)}
    told |= array_metadata(f) if f.kind == "array" else {}
    return {"dreamdb.kind": f.kind, **{f"dreamdb.{k}": str(v) for k, v in told.items()}}
