import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import calls
from clients.encoding import Encoding, decode
from lamo import packing
from lamo.errors import UnreadableAnswer
from lamo.wire import ActRequest, PolicyList

numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)


@given(numbers, st.sampled_from(["<f4", "<f8", ">f4"]))
def test_an_observation_arrives_bit_for_bit_in_either_encoding(values, dtype):
    observation = np.array(values, dtype)
    message = calls.act_request(0, observation, 0.5, None)
    packed = ActRequest.model_validate(packing.unpack(Encoding.MSGPACK.write(message)))
    listed = ActRequest.model_validate_json(Encoding.JSON.write(message))
    for arrived in (packed, listed):
        assert np.array(arrived.observation, np.float32).tobytes() == observation.astype("<f4").tobytes()
        assert (arrived.step, arrived.reward, arrived.executed_action) == (0, 0.5, None)


def test_float32_travels_as_four_bytes_and_shapes_are_kept():
    for sent, dtype, shape in (
        (np.zeros((2, 3), np.float32), "<f4", [2, 3]),
        (np.zeros(4), "<f8", [4]),
        ([1, 2], "<f8", [2]),
    ):
        packed = packing.unpack(Encoding.MSGPACK.write(calls.act_request(0, sent, None, None)))
        assert (packed["observation"]["dtype"], packed["observation"]["shape"]) == (dtype, shape)


def test_items_are_written_in_either_encoding():
    item = calls.item("e", 3, np.ones(2, np.float32), 0.5, None)
    message = calls.act_together([item, item]).message
    assert (
        Encoding.JSON.write(message).count(b'{"observation":[1.0,1.0],"step":3,"reward":0.5,"episode_id":"e"}') == 2
    )
    packed = packing.unpack(Encoding.MSGPACK.write(message))
    assert [part["observation"]["data"] for part in packed["items"]] == [np.ones(2, np.float32).tobytes()] * 2


def test_an_answer_is_read_by_its_own_content_type():
    fields = {"api_version": "1", "server_version": "9", "policies": []}
    headers = httpx.Headers({"Content-Type": "application/msgpack"})
    assert decode(PolicyList, headers, packing.pack(fields)).server_version == "9"
    assert decode(PolicyList, {}, b'{"api_version": "1", "server_version": "9", "policies": []}').policies == []


@pytest.mark.parametrize(
    ("body", "reason"), [(b"\xc1", "the body is not msgpack"), (packing.pack([]), "valid dictionary")]
)
def test_msgpack_that_is_no_answer_is_named(body, reason):
    with pytest.raises(UnreadableAnswer, match=f"which is no PolicyList: .*{reason}"):
        calls.list_policies().read(200, {"content-type": "application/msgpack"}, body)
