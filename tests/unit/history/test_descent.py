"""What a commit keeps of lineage and edges: pure functions over entries."""

from dataclasses import replace

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.history.descent import LAYER_LINEAGE_MAX, lineage_after
from dreamdb_arrow.objects.lineage import LAYER_PREFIX, Edge, TrackEntry, check_tracks, end_of, order_tracks

TIMELINE = address_of(b"timeline")


def track(field, nth, below=None):
    """Return the nth Track of a field; of a layer, over the Track it was made from."""
    role = "base" if below is None else f"{LAYER_PREFIX}{below.address}"
    tag = f"scalar.i64.field={field}"
    return TrackEntry("event", role, field, address_of(f"{field}{nth}".encode()), (0, 9), tag, TIMELINE)


def after(tracks, active):
    """Return the Tracks of the next version, which must be ones that a Manifest may hold."""
    found = order_tracks(active, *lineage_after(tracks, active))
    check_tracks(found)
    children = [edge.child for edge in found.edges]
    assert len(set(children)) == len(children)
    return found


def links(tracks):
    return {(e.child.field, e.child.address, e.exact_parent.address) for e in tracks.edges}


N = [track("n", nth) for nth in range(4)]
Q = [track("q", nth, N[0]) for nth in range(90)]


def test_a_field_that_changes_leaves_its_lineage_behind():  # 0008-R11
    tracks = order_tracks([N[1], track("m", 0)], [N[0]], [Edge(end_of(N[1]), end_of(N[0]))])
    assert after(tracks, [N[2], track("m", 0)]).lineage == ()
    assert after(tracks, [N[1], track("m", 1)]) == replace(tracks, active=(track("m", 1), N[1]))


def test_the_track_that_a_layer_was_made_from_stays_in_the_lineage():
    tracks = after(order_tracks([N[0]]), [N[0], Q[0]])
    assert tracks.lineage == ()
    for nth in (1, 2):
        tracks = after(tracks, [N[nth], Q[0]])
        assert tracks.lineage == (N[0],)
        assert links(tracks) == {("q", Q[0].address, N[0].address)}


def test_a_layer_of_a_layer_keeps_both():
    over = track("r", 0, Q[0])
    tracks = after(after(order_tracks([N[0]]), [N[0], Q[0]]), [N[0], Q[0], over])
    tracks = after(tracks, [N[1], Q[1], over])
    assert set(tracks.lineage) == {N[0], Q[0]}
    assert links(tracks) == {
        ("q", Q[1].address, Q[0].address),
        ("q", Q[0].address, N[0].address),
        ("r", over.address, Q[0].address),
    }


def test_a_layer_that_changes_often_begins_anew():
    tracks = after(order_tracks([N[0]]), [N[0], Q[0]])
    longest = 0
    for nth in range(1, 90):
        tracks = after(tracks, [N[1], Q[nth]])
        assert N[0] in tracks.lineage
        longest = max(longest, len(tracks.lineage))
    assert longest == LAYER_LINEAGE_MAX + 1
    assert len(tracks.lineage) < LAYER_LINEAGE_MAX


def test_a_layer_that_goes_takes_its_origin_along():
    tracks = after(order_tracks([N[0]]), [N[0], Q[0]])
    tracks = after(tracks, [N[1], Q[0]])
    assert after(tracks, [N[1]]) == order_tracks([N[1]])


def test_a_parent_that_goes_stays_for_its_layer():
    tracks = after(order_tracks([N[0]]), [N[0], Q[0]])
    assert after(tracks, [Q[0]]).lineage == (N[0],)


def test_two_branches_of_a_layer_meet_at_the_track_that_both_had():
    before = after(order_tracks([N[0]]), [N[0], Q[0]])
    sides = [after(before, [N[0], Q[nth]]) for nth in (1, 2)]
    both = replace(
        sides[0],
        active=(*sides[0].active, sides[1].active[-1]),
        edges=(*sides[0].edges, *(e for e in sides[1].edges if e not in sides[0].edges)),
    )
    united = after(both, [N[0], Q[3]])
    assert ("q", Q[3].address, Q[0].address) in links(united)
    assert united.lineage == (Q[0],)
