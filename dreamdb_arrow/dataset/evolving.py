"""The verbs of a Dataset that change its schema and its metadata, in the reference's words. Spec 0017."""

from __future__ import annotations

from typing import Any, Self

from dreamdb_arrow.dataset.evolve import add_constant, add_field, decommission, set_meta
from dreamdb_arrow.dataset.handle import Handle
from dreamdb_arrow.dataset.inspect import constants, metadata
from dreamdb_arrow.dataset.layers import add_layer, append_layer
from dreamdb_arrow.dataset.schema import SCALAR_METHODS, Schema
from dreamdb_arrow.errors import InvalidInputError


class Evolving(Handle):
    """What a Dataset can do to its own schema. Each call is one commit, and moves the handle on."""

    # ---------------------------------------------------------------- fields

    def add_scalar_int(self, name: str, required: bool = False) -> Self:
        """Add a field of 64-bit integers, empty so far."""
        return self._add(Schema().add_scalar_int(name, required))

    def add_scalar_float(self, name: str, required: bool = False) -> Self:
        """Add a field of 64-bit floats."""
        return self._add(Schema().add_scalar_float(name, required))

    def add_scalar_string(self, name: str, required: bool = False) -> Self:
        """Add a field of texts."""
        return self._add(Schema().add_scalar_string(name, required))

    def add_scalar_categorical(self, name: str, required: bool = False) -> Self:
        """Add a field of texts out of a small set."""
        return self._add(Schema().add_scalar_categorical(name, required))

    def add_scalar_bool(self, name: str, required: bool = False) -> Self:
        """Add a field of truth values."""
        return self._add(Schema().add_scalar_bool(name, required))

    def add_scalar_timestamp(self, name: str, required: bool = False) -> Self:
        """Add a field of times."""
        return self._add(Schema().add_scalar_timestamp(name, required))

    def add_image(self, name: str, mime: str = "jpeg", required: bool = False, **options: Any) -> Self:
        """Add a field of images; the options are those of `Schema.add_image`."""
        return self._add(Schema().add_image(name, mime, required, **options))

    def add_audio(self, name: str, mime: str = "wav", required: bool = False, **options: Any) -> Self:
        """Add a field of audio items."""
        return self._add(Schema().add_audio(name, mime, required, **options))

    def add_video(self, name: str, mime: str = "h264", required: bool = False, **options: Any) -> Self:
        """Add a field of video items."""
        return self._add(Schema().add_video(name, mime, required, **options))

    def add_embedding(self, name: str, dim: int, required: bool = False, **options: Any) -> Self:
        """Add a field of vectors; the options are those of `Schema.add_embedding`."""
        return self._add(Schema().add_embedding(name, dim, required=required, **options))

    def decommission_modality(self, field: str) -> None:
        """Take a field out of the schema. Older versions keep it; once they are gone, its objects may be collected."""
        self._version = decommission(self.space.store, self._ref, field, self._clock)

    def _add(self, declared: Schema) -> Self:
        self._version = add_field(self.space.store, self._ref, declared.fields[0], self._clock)
        return self

    # ---------------------------------------------------------------- layers

    def add_scalar_layer(self, name: str, parent_field: str, value_type: str, samples: Any) -> None:
        """Add a field of values that were computed from another field.

        Args:
            name: the new field.
            parent_field: the field it was computed from.
            value_type: int, float, string, categorical, bool or timestamp.
            samples: pairs (anchor, value), or anything tabular with `_anchor` and a column of the field's name.
        """
        if value_type not in SCALAR_METHODS:
            raise InvalidInputError(f"unknown type {value_type!r}; use one of {', '.join(SCALAR_METHODS)}")
        declared = SCALAR_METHODS[value_type](Schema(), name, required=False)
        self._lay(declared, parent_field, samples)

    def add_image_layer(self, name: str, parent_field: str, samples: Any, mime: str = "jpeg") -> None:
        """Add a field of images that were computed from another field; an image layer of this name is made anew."""
        self._lay(Schema().add_image(name, mime, required=False), parent_field, samples)

    def add_embedding_layer(
        self,
        name: str,
        parent_field: str,
        dim: int,
        algorithm: str = "dreamdb.lsh-cosine",
        spatial_index: bytes | None = None,
        compressor: bytes | None = None,
        rerank: bool = False,
        samples: Any = (),
        **options: Any,
    ) -> None:
        """Add a field of vectors that were computed from another field."""
        declared = Schema().add_embedding(
            name,
            dim,
            algorithm,
            required=False,
            spatial_index=spatial_index,
            compressor=compressor or None,
            rerank=rerank,
            **options,
        )
        self._lay(declared, parent_field, samples)

    def append_scalar_layer(self, name: str, samples: Any) -> None:
        """Add values to a layer of scalars."""
        self._append_layer(name, samples)

    def append_image_layer(self, name: str, samples: Any) -> None:
        """Add images to a layer of images."""
        self._append_layer(name, samples)

    def append_embedding_layer(self, name: str, samples: Any) -> None:
        """Add vectors to a layer of vectors."""
        self._append_layer(name, samples)

    def _lay(self, declared: Schema, parent_field: str, samples: Any) -> None:
        self._version = add_layer(
            self.space.store, self._ref, declared.fields[0], parent_field, samples, self._clock
        )

    def _append_layer(self, name: str, samples: Any) -> None:
        self._version = append_layer(self.space.store, self._ref, name, samples, self._clock)

    # ---------------------------------------------------------------- constants and metadata

    def add_constant(self, field_name: str, modality: str, value: Any) -> None:
        """Give the whole timeline one value.

        Modalities with an encoding here: title.text, author.text, license.spdx, description.text, source.uri (ASCII)
        and author.json.
        """
        self._version = add_constant(self.space.store, self._ref, field_name, modality, value, self._clock)

    def get_constant(self, field_name: str) -> Any:
        """Return the value of a constant field. Raises InvalidInputError when there is none of this name."""
        found = constants(self._rows)
        if field_name not in found:
            raise InvalidInputError(f"no constant {field_name!r}; constants: {', '.join(found) or 'none'}")
        return found[field_name]["value"]

    def constants(self) -> dict[str, Any]:
        """Return the values of constant fields."""
        return {name: found["value"] for name, found in constants(self._rows).items()}

    def set_meta(self, key: str, value: str) -> None:
        """Set a text of the Space's metadata; keys begin with `dreamdb.`."""
        self._version = set_meta(self.space.store, self._ref, key, value, self._clock)

    def meta(self) -> dict[str, str]:
        """Return the texts that were set on the dataset."""
        return metadata(self._rows.manifest)

    def set_description(self, text: str) -> None:
        """Set the description of the dataset."""
        self.set_meta("dreamdb.description", text)

    def description(self) -> str | None:
        """Return the description, or None."""
        return self.meta().get("dreamdb.description")
