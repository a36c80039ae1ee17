import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.patience import Patience
from lamo.errors import Draining, InvalidRequest, QueueFull, ServiceError, ServiceUnreachable

REFUSED = httpx.ConnectError("connection refused")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def patience(deadline_seconds, clock=None, chance=0.0):
    return Patience("http://s", deadline_seconds, clock=clock or Clock(), chance=lambda: chance)


def test_a_final_error_is_raised_as_it_is():
    tried = patience(60)
    tried.begin_try()
    error = InvalidRequest("wrong shape")
    with pytest.raises(InvalidRequest) as raised:
        tried.pause_after(error)
    assert raised.value is error


@pytest.mark.parametrize("error", [httpx.UnsupportedProtocol("no"), httpx.LocalProtocolError("no")])
def test_what_would_fail_again_is_not_sent_again(error):
    tried = patience(60)
    tried.begin_try()
    with pytest.raises(ServiceUnreachable, match=r"no answer from http://s after 0\.0 s and 1 try: no"):
        tried.pause_after(error)


def test_pauses_double_up_to_two_seconds():
    tried = patience(1000)
    pauses = []
    for _ in range(8):
        tried.begin_try()
        pauses.append(tried.pause_after(REFUSED))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_chance_spreads_pauses_upwards():
    tried = patience(60, chance=0.5)
    tried.begin_try()
    assert tried.pause_after(REFUSED) == pytest.approx(0.05 * 1.25)


def test_no_try_comes_earlier_than_the_service_asked():
    tried = patience(60)
    tried.begin_try()
    assert tried.pause_after(QueueFull("full", retry_after_ms=3000)) == 3.0


def test_a_wait_beyond_the_deadline_is_not_begun():
    tried = patience(10)
    tried.begin_try()
    with pytest.raises(QueueFull, match=r"full \(still so after 0\.0 s and 1 try\)"):
        tried.pause_after(QueueFull("full", retry_after_ms=10_000))


def test_a_try_leaves_time_to_ask_again():
    clock = Clock()
    tried = patience(60, clock)
    assert tried.begin_try() == 30.0
    clock.now += 59.5
    assert tried.begin_try() == 0.5


def test_the_last_error_keeps_its_class_and_facts():
    clock = Clock()
    tried = patience(2, clock)
    tried.begin_try()
    clock.now += 2
    with pytest.raises(Draining) as raised:
        tried.pause_after(Draining("shutting down", committed_step=3, request_id="r", trace_id="t"))
    assert str(raised.value) == "shutting down (still so after 2.0 s and 1 try)"
    assert (raised.value.committed_step, raised.value.request_id, raised.value.trace_id) == (3, "r", "t")


def test_a_silent_failure_is_named_for_its_kind():
    clock = Clock()
    tried = patience(1, clock)
    tried.begin_try()
    clock.now += 1
    with pytest.raises(ServiceUnreachable, match=r"no answer from http://s after 1\.0 s and 1 try: ReadTimeout"):
        tried.pause_after(httpx.ReadTimeout(""))


def test_a_moment_too_short_for_an_answer_hides_no_reason():
    clock = Clock()
    tried = patience(0.5, clock)
    tried.begin_try()
    tried.pause_after(httpx.ConnectError("CERTIFICATE_VERIFY_FAILED"))
    clock.now += 0.499
    tried.begin_try()
    with pytest.raises(ServiceUnreachable, match=r"after 0\.5 s and 2 tries: CERTIFICATE_VERIFY_FAILED"):
        tried.pause_after(httpx.ReadTimeout("no answer within 0.0 s"))


@given(
    deadline=st.floats(0.01, 5000),
    chance=st.floats(0, 1),
    share=st.floats(0, 1),
    asked=st.integers(0, 20_000),
)
def test_tries_and_pauses_end_by_the_deadline(deadline, chance, share, asked):
    clock = Clock()
    tried = patience(deadline, clock, chance)
    with pytest.raises(ServiceError):  # noqa: PT012 - the loop is the subject
        while True:
            clock.now += share * tried.begin_try()
            assert tried.spent_seconds <= deadline + 0.01
            clock.now += tried.pause_after(Draining("no", retry_after_ms=asked))
            assert tried.spent_seconds <= deadline + 0.01
