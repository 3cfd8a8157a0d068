"""Where tests have their Spaces: as they say, or each in a bucket of a SeaweedFS of this test process (`--store s3`).

Tests name a place by a folder, by `memory://`, or make a MemoryStore or a LocalStore. On S3 each such name means a prefix of
its own in the bucket; what processes are given is `url_of(folder)`. What cannot move is listed in STAYS.
The tests of SHARE run in both places without the option.
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dreamdb_arrow.columnar import cache
from dreamdb_arrow.store import bucket, bucket_calls, urls
from dreamdb_arrow.store.bucket import BucketStore
from dreamdb_arrow.store.interface import Absent, NewObject, Ref, Store
from dreamdb_arrow.store.local import LocalStore
from dreamdb_arrow.store.memory import MemoryStore
from tests.servers import Server, unsigned

STORES = ("as written", "s3")
STAYS = {
    "looks into the folder of the Space": (
        "test_a_bit_that_flips_after_the_pack_was_checked_is_seen",
        "test_a_pack_that_is_gone_is_told",
        "test_a_pack_that_is_cut_short_is_refused",
        "test_tokens_are_laid_out_once",
        "test_what_is_elsewhere_is_put_back",
        "test_any_folder_with_names_will_do",
        "test_bytes_of_others_are_not_believed",
        "test_without_a_source_nothing_is_written",
        "test_the_young_are_kept",
        "test_what_killed_writers_left_goes_when_it_is_old",
        "test_a_member_that_is_down_is_left_out_and_told",
        "test_without_partial_it_is_an_error",
        "test_another_document_is_not_overwritten",
        "test_audits_find_damage",
        "test_a_flipped_bit_is_refused_before_the_engine_sees_it",
        "test_footers_that_duckdb_keeps_are_of_the_file_that_was_checked",
        "test_connecting_reads_no_rows_and_views_know_their_columns",
        "test_damage_that_is_found_ahead_is_told_by_the_query",
        "test_damage_is_not_copied",
        "test_a_missing_object_is_named",
        "test_a_damaged_outboard_stays_behind",
        "test_a_clone_that_is_killed_twice_goes_on",
        "test_the_check_finds_damage",
        "test_equal_values_are_equal_objects",
        "test_a_compressed_graph",
        "tests/interop/test_sdk_features.py::test_graphs",
        "test_the_two_say_the_same",
        "test_bit_rot.py",
        "test_corruption.py",
        "tests/faults/test_fsck.py",
        "test_a_file_is_written_while_it_comes",
    ),
    "has the reference collect, which finds no refs in a bucket below a prefix": (
        "test_what_we_flush_the_reference_reads",
        "test_the_reference_goes_on_from_a_revert",
        "test_the_sdk_goes_on_where_vectors_are_left_to_cells",
        "test_their_collector_follows_no_pointers",
        "test_their_gc_takes_nothing_that_we_need",
        "test_they_merge_collect_and_compact_them",
        "test_paged_media_and_cells_that_grow",
        "test_taking_turns_with_merges_compaction_and_collection",
    ),
    "is about folders, memory or forks": (
        "test_what_cannot_be_opened",
        "test_a_space_in_memory_is_copied_and_not_pickled",
        "test_a_space_in_memory_stays_where_it_is",
        "test_every_owner_of_a_lock_renews_it",
        "test_a_forked_child_appends",
        "test_a_database_that_cannot_be_opened_says_so",
        "test_a_page_is_read_once_however_many_versions_name_it",
        "test_fuzz.py",
        "test_power_loss.py",
        "test_a_place_without_a_space_is_told_in_one_line",
        "test_what_cannot_be_attached_is_told_and_leaves_nothing",
    ),
    "is about what is asked ahead, which is another thing for a bucket": (
        "test_the_first_plan_of_the_process_before_is_made_while_duckdb_starts",
        "test_the_note_follows_what_is_asked_first",
    ),
    "takes long, and goes through the same calls as the same with 1,000": (
        "test_a_time_among_10_000_versions",
        "test_ten_thousand_versions_in_little_memory",
    ),
}
SHARE = (
    "tests/unit/dataset/test_dataset.py",
    "tests/unit/dataset/test_diff.py",
    "tests/unit/history/test_commit.py",
    "tests/unit/history/test_revert.py",
    "tests/unit/history/test_gc.py::test_exactly_the_unreachable_goes",
    "tests/unit/history/test_fsck.py::test_what_a_collector_took_is_not_missing",
    "tests/engines/test_duckdb.py",
    "tests/engines/test_effects_sql.py",
    "tests/engines/test_search_sql.py",
    "tests/interop/test_reference_sdk.py::test_we_see_what_the_reference_appends_and_deletes",
    "tests/interop/test_reference_sdk.py::test_sql_of_the_reference_agrees",
    "tests/faults/test_fault_loop.py::test_a_swap_whose_answer_is_lost_is_acknowledged",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where Spaces are."""
    parser.addoption("--store", choices=STORES, default=STORES[0], help="where tests have their Spaces")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the share in both places."""
    name = metafunc.definition.nodeid
    if metafunc.config.getoption("--store") == STORES[0] and name.startswith(SHARE) and not _stays(name):
        metafunc.parametrize("place_of_spaces", STORES, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot move."""
    if config.getoption("--store") == STORES[0]:
        return
    for item in items:
        for why in _stays(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=why))


def _stays(test: str) -> list[str]:
    """Return why a test cannot move."""
    return [why for why, names in STAYS.items() if any(name in test for name in names)]


@pytest.fixture(scope="module", autouse=True)
def place_of_spaces(request: pytest.FixtureRequest) -> Iterator[str]:
    """The place of all Spaces of a module's tests."""
    place = getattr(request, "param", request.config.getoption("--store"))
    with pytest.MonkeyPatch.context() as patch:
        if place == "s3":
            move(patch, request.module, request.getfixturevalue("open_server"))
        yield place


def move(patch: pytest.MonkeyPatch, module: ModuleType, server: Server) -> None:
    """Have all that names a place mean one in a bucket."""
    unsigned(patch)
    run, on_disk = uuid.uuid4().hex[:8], urls._open_directory

    def in_bucket(name: str, create: bool = False, sync: bool = True) -> Store:
        if (Path(name) / "refs").is_dir():  # the reference wrote it, or it was stored with the tests
            return on_disk(name, create, sync)
        where = str(Path(name).resolve()).strip("/").replace(" ", "-") if name else uuid.uuid4().hex
        return urls.open_store(f"{server.bucket}/{run}/{where}")

    older: list[tuple[int, int]] = []  # what was written up to a time is so much older
    patch.setattr(bucket, "age_of", lambda meta: _shifted(bucket_calls.age_of(meta), older))
    patch.setattr(BucketStore, "older", older, raising=False)
    patch.setattr(cache, "open_store", lambda root, **_: on_disk(str(root), True, False))  # stays where it is
    patch.setattr(urls, "_open_directory", in_bucket)
    patch.setattr(urls, "SCHEMES", {"file": in_bucket, "memory": in_bucket})
    for name in ("MemoryStore", "LocalStore"):
        if hasattr(module, name):
            patch.setattr(module, name, maker(in_bucket))


def maker(in_bucket: Callable[[str], Store]) -> Callable[..., Store]:
    """Return what stands for the class of a store: a function from its first argument, if any, to a store."""
    return lambda name="", **_: in_bucket(str(name))


def _shifted(age_ns: int, older: list[tuple[int, int]]) -> int:
    return age_ns - sum(by for until, by in older if age_ns <= until)


def make_old(store: Store, seconds: int = 7200) -> None:
    """Make all that lies in a store so much older."""
    by = seconds * 10**9
    if isinstance(store, MemoryStore):
        store._modified = {path: at - by for path, at in store._modified.items()}
    elif isinstance(store, LocalStore):
        for found in list(store.list_aged()):
            os.utime(store.local_path(found.path), ns=(found.modified_ns - by,) * 2)
    else:
        until = store.now_ns()
        while store.now_ns() <= until:  # its clock may tell whole seconds only
            time.sleep(0.05)
        store.older.append((until, by))


def url_of(folder: Path) -> str:
    """Return what another process opens a Space by."""
    return urls.open_store(folder, create=True).url


def copy_space(source: Store | Path, target: Store | Path) -> Store:
    """Copy all that a Space has."""
    origin, copied = urls.open_store(source), urls.open_store(target, create=True)
    if isinstance(origin, LocalStore):
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif isinstance(origin, MemoryStore) and isinstance(copied, MemoryStore):
        copied._objects.update(origin._objects)
        copied._refs.update(origin._refs)
    else:
        copied.put_many([NewObject(path, origin.get(path)) for path in origin.list()])
        for name in origin.list_refs():
            found = origin.read_ref(name)
            assert isinstance(found, Ref)
            copied.swap_ref(name, Absent(), found.address)
    return copied
