"""Arrays on their way to the page: how exact they stay, and that the same input gives the same text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctflow.viewing.packing import MISSING, limits, pack_levels, pack_positions, unpack_positions


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_positions_come_back_to_half_a_unit(frames, n, seed):
    z = np.random.default_rng(seed).uniform(-1, 1, (frames, n, 3))
    z[0, 0] = [1, -1, 0]  # differences of more than 2^15 wrap around
    text = pack_positions(z)
    back = unpack_positions(text, frames, n)
    assert back.shape == z.shape
    assert np.abs(back - z).max() <= 0.5 / 32767 + 1e-12
    assert text == pack_positions(z.copy())


def unpacked(text, stored, k):
    import base64
    import zlib

    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(stored, k)
    return np.cumsum(steps, axis=0, dtype=np.uint8)


def test_numbers_come_back_to_half_a_level_and_what_is_no_number_stays_none():
    values = np.random.default_rng(0).normal(size=(4, 9))
    values[1, 2], values[3, 4] = np.nan, np.inf
    low, high = limits(values, None)
    assert (low, high) == (values[np.isfinite(values)].min(), values[np.isfinite(values)].max())
    levels = unpacked(*pack_levels(values, low, high), 9)
    assert levels[1, 2] == levels[3, 4] == MISSING
    kept = np.isfinite(values)
    back = low + levels / 254 * (high - low)
    assert np.abs(back - values)[kept].max() <= 0.5 * (high - low) / 254 + 1e-12


def test_what_does_not_change_is_stored_once():
    text, stored = pack_levels(np.tile(np.arange(5.0), (30, 1)), 0.0, 4.0)
    assert stored == 1
    np.testing.assert_array_equal(unpacked(text, 1, 5)[0], [0, 64, 127, 190, 254])
    assert limits(np.array([np.nan]), None) == (0.0, 1.0)
    assert unpacked(*pack_levels(np.full((2, 3), 7.0), 7.0, 7.0), 3).tolist() == [[0, 0, 0]]
