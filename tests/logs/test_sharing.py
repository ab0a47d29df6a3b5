"""The fair share of partitions."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from perdure.logs.sharing import fair_share

NAMES = st.sets(st.sampled_from("abcdefg"), min_size=1).map(sorted)


@given(NAMES, st.dictionaries(st.integers(0, 19), st.sampled_from("abcdefgxyz")), st.integers(1, 20))
def test_it_is_fair_complete_and_moves_little(
    members: list[str], owners: dict[int, str], partitions: int
) -> None:
    share = fair_share(members, owners, partitions)
    assert set(share) == set(range(partitions))
    counts = Counter(share.values())
    sizes = [counts[member] for member in members]
    assert max(sizes) - min(sizes) <= 1
    held = Counter(
        owner for partition, owner in owners.items() if partition < partitions and owner in members
    )
    base, extra = divmod(partitions, len(members))
    over = sorted((held[member] for member in members), reverse=True)
    must_move = sum(max(0, size - base - (rank < extra)) for rank, size in enumerate(over))
    moved = sum(owners[p] in members and share[p] != owners[p] for p in range(partitions) if p in owners)
    assert moved == must_move
    assert fair_share(members, share, partitions) == share


def test_without_members_nobody_owns_anything() -> None:
    assert fair_share([], {0: "a"}, 4) == {}
