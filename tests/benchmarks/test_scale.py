"""docs/scale.md says what was counted, and the counts are still true."""

from dataclasses import asdict, replace

from benchmarks import scale


def test_the_page_is_current():
    assert scale.PAGE.read_text("utf-8") == scale.page(scale.read_counted())


def test_the_counts_are_still_true():
    kept, now = scale.read_counted(), scale.measure()
    timed = {"list_ms": 0.0, "list_mb": 0.0}
    for name, value in asdict(replace(kept, **timed)).items():
        assert abs(getattr(replace(now, **timed), name) - value) <= 0.1 * value, name


def test_figures_grow_as_the_formulas_say():
    small, large = (scale.Scale(rows, scale.read_counted()) for rows in (10**6, 10**10))
    assert (small.stripes, large.stripes) == (1, 10_000)
    assert large.key_pages == 4 * -(-(10**10) // 4096)
    assert small.list_pages == 0 < large.list_pages
    assert large.full_get == large.stripes + large.vectors + large.list_pages + 1
