"""An error is the same class, with the same numbers, on both sides of the wire."""

from __future__ import annotations

import pytest

from lamo import errors
from lamo.errors import ServiceError, StepConflict


@pytest.mark.parametrize("error_class", list(ServiceError.subclasses()), ids=lambda c: c.__name__)
def test_every_error_survives_the_wire(error_class: type[ServiceError]) -> None:
    error = error_class(
        "what happened", committed_step=4, expected_step=5, retry_after_ms=20, request_id="r1", trace_id="t1"
    )
    problem = error.problem()
    again = ServiceError.from_problem(error.status, problem)
    assert type(again) is error_class
    assert again.problem() == problem
    assert (again.request_id, again.trace_id) == ("r1", "t1")
    assert problem["status"] == error_class.status


def test_kinds_are_unique() -> None:
    classes = list(ServiceError.subclasses())
    assert len({error_class.kind for error_class in classes}) == len(classes)


def test_unknown_fields_are_left_out_of_the_problem() -> None:
    assert set(StepConflict("gap", committed_step=3).problem()) == {
        "type", "title", "status", "detail", "retryable", "committed_step",
    }  # fmt: skip


def test_a_proxys_answer_becomes_an_error_of_its_status() -> None:
    assert type(ServiceError.from_problem(409, {})) is errors.Conflict
    assert type(ServiceError.from_problem(502, {"title": "Bad Gateway"})) is errors.Unavailable
    assert ServiceError.from_problem(502, {}).retryable
    assert not ServiceError.from_problem(407, {}).retryable
    assert str(ServiceError.from_problem(418, {"committed_step": True})) == "the service answered 418"


def test_other_words_change_nothing_else() -> None:
    error = ServiceError.from_problem(422, {"detail": "odd", "retryable": True, "trace_id": "t1"})
    again = error.saying("odd (still so after 3 s)")
    assert type(again) is errors.InvalidRequest
    assert str(again) == "odd (still so after 3 s)"
    assert again.problem() == error.problem() | {"detail": "odd (still so after 3 s)"}


def test_the_drawing_of_the_tree_shows_every_error() -> None:
    drawn = errors.__doc__ or ""
    missing = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LamoError) and name not in drawn
    ]
    assert missing == []
