import pytest

from dreamdb_arrow.codec.modality import Modality, check_modality, modality_param, parse_modality
from dreamdb_arrow.errors import LayoutError

PARSED = {
    "image.png": Modality("image", "png"),
    "scalar.i64.field=n": Modality("scalar", "i64", (("field", "n"),)),
    "scalar.i64.field=": Modality("scalar", "i64", (("field", ""),)),
    "embedding.f32.dim=8.metric=l2.bucketed": Modality(
        "embedding", "f32", (("dim", "8"), ("metric", "l2"), ("bucketed", None))
    ),
    "array.f32.kind=event.storage=time_batch.shape=0d": Modality(
        "array", "f32", (("kind", "event"), ("storage", "time_batch"), ("shape", "0d"))
    ),
    "text.utf8.bm25.field=t": Modality("text", "utf8", (("bm25", None), ("field", "t"))),
    "org.dreamdb.arrow.stripe.v1": Modality("stripe", "v1", (), "org.dreamdb.arrow"),
    "ai.dreamlake.media.video_item.h264.version=1": Modality(
        "video_item", "h264", (("version", "1"),), "ai.dreamlake.media"
    ),
}


@pytest.mark.parametrize(("text", "parsed"), PARSED.items(), ids=PARSED)
def test_parts_and_back(text, parsed):
    assert parse_modality(text) == parsed
    assert str(parsed) == text


def test_params():
    modality = parse_modality("embedding.f32.dim=8.bucketed")
    assert modality_param(modality, "dim") == "8"
    assert modality_param(modality, "bucketed") == ""
    assert modality_param(modality, "version") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image",
        "image.",
        ".png",
        "image..png",
        "image.png.",
        "..",
        "image.svg+xml",
        "image.PNG",
        "image/png.x",
        "scalar.i64.field=a/b",
        "scalar.i64.field=a=b",
        "scalar.i64.field=é",
        "scalar.i64.field=a-b",
        "a.b\n",
        "../x.y",
        "image.png.field=" + "x" * 241,
        "image.png\0",
        "field=n.i64",
        "image.a=b",
        "image.png.=b",
    ],
)
def test_not_a_tag(text):  # 0001-R10
    with pytest.raises(LayoutError, match="not a modality"):
        parse_modality(text)


@pytest.mark.parametrize(
    "text", ["com.acme", "com.acme.ext", "com.acme.ext.blob", "com.acme.ext.blob=1.v1", "depth.f16"]
)
def test_neither_built_in_nor_behind_a_vendor(text):  # 0001-R10
    with pytest.raises(LayoutError):
        parse_modality(text)
    with pytest.raises(LayoutError):
        check_modality(text)


def test_a_text_that_is_a_tag_is_returned():
    assert check_modality("com.acme.ext.depth.f16") == "com.acme.ext.depth.f16"
