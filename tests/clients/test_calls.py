import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import calls
from clients.encoding import Encoding
from lamo.errors import (
    DeadlineExceeded,
    Draining,
    InternalError,
    InvalidRequest,
    NotFound,
    QueueFull,
    ServiceError,
    StepConflict,
    Unavailable,
    UnreadableAnswer,
)


def sent(call):
    return json.loads(Encoding.JSON.write(call.message))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_float32_observation_arrives_bit_for_bit(numbers):
    observation = np.array(numbers, np.float32)
    arrived = np.array(
        sent(calls.act("e", calls.act_request(0, observation, None, None)))["observation"], np.float64
    )
    assert arrived.astype(np.float32).tobytes() == observation.tobytes()


def test_only_what_is_given_is_sent():
    assert sent(calls.act("e", calls.act_request(3, [1, 2.5], None, None))) == {
        "step": 3,
        "observation": [1.0, 2.5],
    }
    assert sent(calls.start_episode("e", None, None, None, None)) == {}
    ended = calls.end_episode(
        "e", 4, reward=None, executed_action=None, terminated=True, truncated=False, success=None
    )
    assert sent(ended) == {"step": 4, "terminated": True, "truncated": False}


def test_numpy_scalars_are_numbers():
    call = calls.act("e", calls.act_request(1, np.zeros(2), np.float32(0.5), np.array([0.25, -1], np.float32)))
    assert sent(call) == {"step": 1, "observation": [0.0, 0.0], "reward": 0.5, "executed_action": [0.25, -1.0]}


def test_what_an_environment_calls_terminated_may_be_numpys():
    call = calls.end_episode(
        "e",
        3,
        reward=None,
        executed_action=None,
        terminated=np.array([1.0])[0] > 0,
        truncated=np.False_,
        success=np.True_,
    )
    assert sent(call) == {"step": 3, "terminated": True, "truncated": False, "success": True}


def test_names_are_quoted_in_paths():
    assert calls.describe_policy("a/b?@c").path == "/policies/a%2Fb%3F@c"
    assert calls.delete_episode("../x").path == "/episodes/..%2Fx"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, [1.0, np.nan, np.inf], None, None), "observation is not finite: 2 of its 3 numbers are not"),
        ((1, [1.0], np.inf, None), "reward is not finite: 1 of its 1 numbers are not"),
        ((1, [1.0], 0.0, [np.nan]), "executed_action is not finite: 1 of its 1 numbers are not"),
        ((0, ["left"], None, None), "observation is not an array of numbers"),
        ((0, [[1.0, 2.0]], None, None), "observation has shape [1, 2], JSON carries vectors only: use msgpack"),
        ((-1, [1.0], None, None), "the request cannot be sent: step: Input should be greater than or equal to 0"),
    ],
)
def test_what_json_or_the_contract_cannot_carry_is_refused_before_it_is_sent(arguments, sentence):
    with pytest.raises(InvalidRequest) as refused:
        sent(calls.act("e", calls.act_request(*arguments)))
    assert sentence in str(refused.value)


def test_a_problem_document_becomes_its_class_again():
    problem = StepConflict("too far", committed_step=4, expected_step=5, request_id="r").problem()
    with pytest.raises(StepConflict, match="too far") as raised:
        calls.list_policies().read(409, {}, json.dumps(problem).encode())
    assert (raised.value.committed_step, raised.value.expected_step, raised.value.request_id) == (4, 5, "r")


def test_the_documents_word_on_trying_again_overrules_the_class():
    document = {"type": "urn:lamo:problem:of-a-newer-service", "status": 409, "detail": "d", "retryable": True}
    assert calls.read_error(409, {}, json.dumps(document).encode()).retryable
    document = Draining("for good").problem() | {"retryable": False}
    assert not calls.read_error(503, {}, json.dumps(document).encode()).retryable


def test_retry_after_is_read_from_the_header_where_the_document_does_not_say():
    bare, precise = QueueFull("full").problem(), QueueFull("full", retry_after_ms=40).problem()
    headers = {"retry-after": "2"}
    assert calls.read_error(429, headers, json.dumps(bare).encode()).retry_after_ms == 2000
    assert calls.read_error(429, headers, json.dumps(precise).encode()).retry_after_ms == 40
    assert calls.read_error(503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"").retry_after_ms is None


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [(404, NotFound, False), (500, InternalError, False), (502, Unavailable, True), (504, Unavailable, True)],
)
def test_a_proxys_page_becomes_the_nearest_error(status, error, retryable):
    raised = calls.read_error(status, {}, b"<html><h1>Bad\n gateway</h1>")
    assert type(raised) is error
    assert raised.retryable is retryable
    assert str(raised) == f"the service, or a proxy before it, answered {status} with '<html><h1>Bad gateway</h1>'"


def test_the_services_own_deadline_is_final():
    problem = json.dumps(DeadlineExceeded("late").problem()).encode()
    assert not calls.read_error(504, {}, problem).retryable


def test_a_page_instead_of_an_answer_is_named():
    with pytest.raises(UnreadableAnswer) as raised:
        calls.list_policies().read(200, {}, b"<html>Log in</html>")
    assert "GET /policies was answered 200 with '<html>Log in</html>', which is no PolicyList" in str(raised.value)


def test_a_missing_field_of_an_answer_is_named():
    with pytest.raises(UnreadableAnswer, match="which is no PolicyList: api_version: Field required"):
        calls.list_policies().read(200, {}, b'{"server_version": "1", "policies": []}')


def test_unknown_fields_of_an_answer_are_ignored():
    body = b'{"api_version": "1", "server_version": "9", "policies": [], "news": [1]}'
    assert calls.list_policies().read(200, {}, body).policies == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: (
        st.lists(parts) | st.dictionaries(st.text() | st.sampled_from(["type", "detail", "status"]), parts)
    ),
    max_leaves=10,
)


@given(
    status=st.integers(200, 599),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "retry-after": st.text() | st.integers().map(str),
            "content-type": st.sampled_from(["application/json", "application/msgpack", "text/html"]),
        },
    ),
    content=st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_whatever_is_answered_is_an_answer_or_an_error_of_the_service(status, headers, content):
    with contextlib.suppress(ServiceError):
        assert calls.list_policies().read(status, headers, content).policies is not None


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({}, b"[" * 200_000),
        ({"retry-after": "9" * 5000}, b""),
        ({}, b'{"type": "x", "retry_after_ms": 1' + b"0" * 400 + b"}"),
        ({}, b'{"type": "x", "retry_after_ms": -1}'),
    ],
    ids=["deep", "long", "large", "negative"],
)
def test_a_mangled_refusal_is_a_refusal_and_no_time_to_wait(headers, content):
    error = calls.read_error(503, headers, content)
    assert (type(error), error.retryable, error.retry_after_ms) == (Unavailable, True, None)
