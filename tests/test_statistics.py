"""Quantiles in bounded memory, the paper's statistics, and what a constant dimension does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lerobot.utils.constants import ACTION, OBS_STATE

from lerobot_xwam.data.quantiles import QuantileSketch
from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.data.statistics import InterfaceStatistics

RNG = np.random.default_rng(0)
LEVELS = [0.01, 0.5, 0.99]


def rows_of(sketch: QuantileSketch, rows: np.ndarray, parts: int) -> QuantileSketch:
    for part in np.array_split(rows, parts):
        sketch.add(part)
    return sketch


@given(st.integers(1, 300), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_few_rows_are_exact(count: int, parts: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 2))
    sketch = rows_of(QuantileSketch(2, block=300), rows, min(parts, count))
    assert sketch.exact and sketch.count == count
    np.testing.assert_array_equal(sketch.quantiles(LEVELS), np.quantile(rows, LEVELS, axis=0))


@pytest.mark.parametrize("order", ["as drawn", "sorted", "falling"])
def test_many_rows_are_sketched_in_bounded_memory(order: str) -> None:
    count, block = 400_000, 1024
    rows = RNG.standard_t(3, size=(count, 2))  # heavy tails
    rows = {"as drawn": rows, "sorted": np.sort(rows, axis=0), "falling": -np.sort(-rows, axis=0)}[order]
    sketch = rows_of(QuantileSketch(2, block=block), rows, 37)
    assert not sketch.exact and sketch.count == count
    assert sketch.rows_kept <= block * 10  # 10 levels hold 2^9 times a block
    for level, values in zip(LEVELS, sketch.quantiles(LEVELS), strict=True):
        ranks = (rows <= values).mean(axis=0)
        assert np.abs(ranks - level).max() < 3e-3


def test_the_block_we_use_is_off_by_less_than_a_thousandth() -> None:
    rows = RNG.normal(size=(1_000_000, 1))
    found = rows_of(QuantileSketch(1), rows, 10).quantiles(LEVELS)[:, 0]
    assert np.abs([(rows <= value).mean() for value in found] - np.array(LEVELS)).max() < 1e-3


def test_sketches_merge() -> None:
    rows = RNG.normal(size=(50_000, 1))
    halves = [rows_of(QuantileSketch(1, block=512), half, 3) for half in np.split(rows, 2)]
    halves[0].merge(halves[1])
    assert halves[0].count == len(rows)
    ranks = [(rows <= value).mean() for value in halves[0].quantiles(LEVELS)[:, 0]]
    np.testing.assert_allclose(ranks, LEVELS, atol=5e-3)
    again = [rows_of(QuantileSketch(1, block=512), half, 3) for half in np.split(rows, 2)]
    again[0].merge(again[1])
    np.testing.assert_array_equal(again[0].quantiles(LEVELS), halves[0].quantiles(LEVELS))
    with pytest.raises(ValueError, match="1 dims"):
        QuantileSketch(2).merge(QuantileSketch(1))


def test_rows_that_have_no_quantiles_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        QuantileSketch(1).quantiles(0.5)
    with pytest.raises(ValueError, match="NaN"):
        QuantileSketch(1).add([[np.nan]])
    with pytest.raises(ValueError, match=r"\(2, 3\): wanted N x 2"):
        QuantileSketch(2).add(np.zeros((2, 3)))


def episode(frames: int) -> tuple[np.ndarray, np.ndarray]:
    states = RNG.normal(size=(frames, 8))
    states[:, 3:7] /= np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)
    return states, np.roll(states, -1, axis=0)


def test_workers_statistics_merge_to_the_whole() -> None:
    episodes = [episode(50) for _ in range(6)]
    whole, first, second = (InterfaceStatistics(1) for _ in range(3))
    for i, (states, targets) in enumerate(episodes):
        whole.add_deltas(states, targets)
        (first if i < 3 else second).add_deltas(states, targets)
    first.merge(second)
    assert first.frames == whole.frames == 300
    assert first.vectors() == whole.vectors()
    with pytest.raises(ValueError, match="do not mix"):
        first.merge(InterfaceStatistics(2))


def test_actions_are_symmetric_and_quaternions_left_alone() -> None:
    statistics = InterfaceStatistics(2)
    states = np.concatenate([episode(80)[0], episode(80)[0]], axis=1)
    actions = RNG.normal(0.3, 1, size=(80, 14))
    statistics.add_actions(states, actions)
    vectors = statistics.vectors()
    assert vectors["action"]["q01"] == [-value for value in vectors["action"]["q99"]]
    low, high = np.quantile(actions, [0.01, 0.99], axis=0)
    arms_only = [i for i in range(14) if i % 7 != 6]
    reach = np.maximum(abs(low), abs(high))[arms_only]
    np.testing.assert_array_equal(np.array(vectors["action"]["q99"])[arms_only], reach)
    assert vectors["action"]["q99"][6] == vectors["action"]["q99"][13]  # both grippers share a scale
    assert vectors["state"]["q01"][3:7] == [-1] * 4 and vectors["state"]["q99"][11:15] == [1] * 4


def test_constant_dimensions_stay_finite() -> None:
    """A gripper that never moves, an arm that never turns: nothing explodes, zero stays zero."""
    states = np.tile([0.3, 0.1, 0.2, 1, 0, 0, 0, 0.5], (40, 1))
    states[:, 0] += np.linspace(0, 0.1, 40)
    statistics = InterfaceStatistics(1)
    statistics.add_deltas(states, np.concatenate([states[1:], states[-1:]]))
    vectors = statistics.vectors()
    scaling = Scaling.fit("ee", {OBS_STATE: vectors["state"], ACTION: vectors["action"]}, OBS_STATE, ACTION)
    scaled = scaling.state(torch.from_numpy(states))
    assert torch.isfinite(scaled).all() and scaled[:, [1, 2, 7]].abs().max() < 1e-6
    assert scaling.action(torch.zeros(7)).eq(0).all()
    assert torch.isfinite(scaling.action(torch.full((7,), 1e-3))).all()
