import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lamo.packing import DTYPES, array_of, is_array, pack, unpack

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(arrays.arrays(st.sampled_from(DTYPES).map(np.dtype), shapes))
def test_an_array_comes_back_with_its_dtype_shape_and_bytes(array):
    packed = unpack(pack({"a": array, "n": 1}))
    assert is_array(packed["a"])
    back = array_of(packed["a"])
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_what_is_not_little_endian_or_contiguous_is_made_so():
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    assert array_of(unpack(pack(array))).tolist() == array.tolist()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_value_error(data):
    try:
        message = unpack(data)
    except ValueError:
        return
    if is_array(message):
        with pytest.raises(ValueError, match=r"dtype|shape|data"):
            array_of(message)


@pytest.mark.parametrize("value", [np.zeros(2, bool), np.zeros(2, complex), np.array(["x"]), object()])
def test_what_has_no_place_on_the_wire_is_not_packed(value):
    with pytest.raises(TypeError, match="cannot be sent as msgpack"):
        pack({"a": value})
