"""Batches of one group go to one worker where that leaves no other idle; results are put in
order."""

from distill.workers.batch_queue import BatchQueue, sort_results
from distill.workers.protocol import BatchResult


def test_workers_go_on_with_their_group_and_then_help_with_the_longest():
    queue = BatchQueue(7, lambda number: number // 3)  # groups 0 1 2, 3 4 5, 6
    first, second = queue.take(None), queue.take(None)
    assert (first, second) == (0, 3)
    assert queue.take(second) == 4
    assert queue.take(second) == 5
    assert queue.take(second) == 6  # a group that nobody has begun
    assert queue.take(second) == 1  # then what is left of the other's
    assert queue.take(first) == 2
    assert queue.take(first) is None
    assert len(queue) == 0


def test_lost_batches_come_first_and_in_order():
    queue = BatchQueue(5, lambda number: None)
    lost = [queue.take(None), queue.take(0)]
    queue.put_back([number for number in lost if number is not None])
    assert [queue.take(None) for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_results_are_held_back_until_those_before_have_come():
    come = []

    def iterate():
        for number in (2, 0, 1, 4, 3):
            come.append(number)
            yield BatchResult(number, [f"result {number}"], 0.0)

    seen = [(result.number, len(come)) for result in sort_results(iterate())]
    assert seen == [(0, 2), (1, 3), (2, 3), (3, 5), (4, 5)]


def test_failed_batches_are_left_to_workers_that_may_have_them():
    queue = BatchQueue(3, lambda number: None)
    for _ in range(2):
        queue.take(None)
    queue.put_back([0, 1])
    assert queue.take(None, shunned=[0]) == 1
    assert queue.take(None, shunned=[0]) == 2
    assert queue.take(None, shunned=[0]) is None
    assert len(queue) == 1
    assert queue.take(None) == 0
