"""Which requests go together."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from service.steps.batching import group, take


@dataclass(frozen=True)
class Asked:
    name: str
    number: int


queues = st.lists(st.sampled_from("abcdefgh"), max_size=30).map(
    lambda ids: [Asked(episode_id, number) for number, episode_id in enumerate(ids)]
)


@given(queues, st.sets(st.sampled_from("abcdefgh")), st.integers(1, 10))
def test_a_batch_is_what_the_slow_obvious_loop_takes(queue, busy, limit):
    oldest_of_each = [asked for asked in queue if asked.name not in busy]
    oldest_of_each = [
        asked
        for index, asked in enumerate(oldest_of_each)
        if asked.name not in {earlier.name for earlier in oldest_of_each[:index]}
    ]
    assert take([queue], busy, limit) == oldest_of_each[:limit]


@given(queues, st.integers(1, 10))
def test_everyone_is_served_in_the_end_and_in_order_within_an_episode(queue, limit):
    served = []
    while queue:
        batch = take([queue], (), limit)
        served += batch
        queue = [asked for asked in queue if asked not in batch]
    for episode_id in "abcdefgh":
        numbers = [asked.number for asked in served if asked.name == episode_id]
        assert numbers == sorted(numbers)


def test_groups_keep_the_order_in_which_their_members_came():
    assert group([3, 1, 4, 1, 5, 9, 2, 6], lambda number: number % 2) == [[3, 1, 1, 5, 9], [4, 2, 6]]


@given(st.lists(queues, max_size=4), st.integers(0, 12))
def test_no_queue_is_behind_another_by_more_than_a_turn(waiting, limit):
    several = [[Asked(f"{at}{asked.name}", asked.number) for asked in queue] for at, queue in enumerate(waiting)]
    batch = take(several, (), limit)
    counts = [sum(asked in queue for asked in batch) for queue in several]
    could = [len({asked.name for asked in queue}) for queue in several]
    most = max(counts, default=0)
    assert len(batch) == min(limit, sum(could))
    assert all(count >= min(possible, most - 1) for count, possible in zip(counts, could, strict=True))
