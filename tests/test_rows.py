"""Work beside the making of rows: the order, the errors, and how far it may fall behind."""

import threading

import pytest

from unshrink.pictures import strips as rows


def test_results_keep_the_order_of_the_items_and_come_from_another_thread():
    met = list(rows.beside(lambda item: (item, threading.get_ident()), range(3 * rows._AHEAD)))
    assert [item for item, _ in met] == list(range(3 * rows._AHEAD))
    assert {thread for _, thread in met} != {threading.get_ident()}


def test_items_are_made_while_the_function_runs_but_not_without_end():
    made, go_on = [], threading.Event()

    def items():
        for item in range(10 * rows._AHEAD):
            made.append(item)
            if len(made) == rows._AHEAD:
                go_on.set()  # made, though the function has returned nothing yet
            yield item

    results = rows.beside(lambda item: go_on.wait(60), items())
    assert next(results) is True
    assert rows._AHEAD < len(made) <= rows._AHEAD + 2
    results.close()


def test_errors_of_either_side_arrive_and_no_thread_stays():
    before = threading.active_count()

    def items():
        yield from range(3)
        raise ValueError("of the items")

    with pytest.raises(ValueError, match="of the items"):
        list(rows.beside(abs, items()))
    with pytest.raises(ZeroDivisionError):
        list(rows.beside(lambda item: 1 // item, [1, 0, 1]))
    assert threading.active_count() == before
