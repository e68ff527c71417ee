"""The policy as a world model: its own actions, given ones, given motion; and footage in robot units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toys import THREE_CAMERAS, make_toy, wake_up

from lerobot_xwam.data.batch import Clip
from lerobot_xwam.imagination import Imagination
from lerobot_xwam.model.noise import draw_noise
from lerobot_xwam.model.types import Asked, Latents, Prediction, Rollout, Times
from lerobot_xwam.training.encoding import encode_centered
from lerobot_xwam.training.randomness import rollout_generators
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.metrics import abs_rel, psnr
from lerobot_xwam.world.opening import Opened
from lerobot_xwam.world.world_model import WorldModel


@pytest.fixture(scope="module")
def toy() -> Any:
    toy = make_toy(THREE_CAMERAS)
    wake_up(toy.policy).eval()
    return toy


@pytest.fixture(scope="module")
def model(toy: Any) -> WorldModel:
    return Opened(toy.policy, toy.pre).world_model(fps=15)


@pytest.fixture(scope="module")
def clip(toy: Any) -> Clip:
    return Clip.of(toy.batch([3]))


def test_the_truth_is_what_the_dataset_holds(model: WorldModel, clip: Clip, toy: Any) -> None:
    truth, raw = model.recorded(clip), toy.raw([3])
    np.testing.assert_allclose(truth.actions, raw["action"][0], atol=1e-5)
    np.testing.assert_allclose(truth.states, raw["observation.state"][0], atol=1e-5)
    assert truth.seconds == pytest.approx(4 / 15) and truth.frames == 5 and truth.size == (32, 48)
    assert truth.cameras == tuple(f"observation.images.{name}" for name in ("front", "left", "wrist"))
    assert truth.metres is not None and truth.rgb.dtype == np.uint8
    millimetres = raw["observation.images.front_depth"][0, :, 0].numpy()
    assert np.median(truth.metres[0]) == pytest.approx(np.median(millimetres) / 1000, rel=0.05)
    assert effectors_of_layout(truth.states).shape == (5, 1, 4, 4)


def test_pixels_without_reading_stay_without(model: WorldModel, clip: Clip) -> None:
    assert clip.depth is not None
    depth = clip.depth.clone()
    depth[:, 1, :, 1] = 0  # the second camera's sensor is off
    truth = model.recorded(replace(clip, depth=depth))
    assert truth.metres is not None
    assert np.isnan(truth.metres[1]).all() and np.isfinite(truth.metres[[0, 2]]).all()
    assert model.recorded(replace(clip, depth=None)).metres is None


def test_a_perfect_imagination_is_as_good_as_the_codec(model: WorldModel, clip: Clip, toy: Any) -> None:
    """True latents instead of imagined ones: what is left is the small codec's own error."""
    config = model.policy.config
    codec = model.policy.codecs.video(torch.device("cpu"))
    encoded = encode_centered(codec, clip.observation.video, clip.depth, config.crop_ratio)
    latents = Latents(encoded.video, clip.actions, clip.observation.states)
    got, truth = model.film(Rollout(latents, encoded.depth), "perfect"), model.recorded(clip)
    assert got.metres is not None and truth.metres is not None
    assert psnr(got.rgb[0], truth.rgb[0]).mean() > 20
    assert abs_rel(got.metres[0], truth.metres[0]).mean() < 0.4  # 32 x 48 pixels, walls 2 m away
    np.testing.assert_allclose(got.states, truth.states, atol=1e-6)
    np.testing.assert_allclose(got.actions, truth.actions, atol=1e-6)


def test_seeds_make_futures(model: WorldModel, clip: Clip) -> None:
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1

    one, other, again = model.imagine(clip.observation, [1, 2, 1], tick)
    assert calls == 3 * model.calls
    assert (one.rgb == again.rgb).all() and (one.actions == again.actions).all()
    assert (one.actions != other.actions).any() and (one.rgb != other.rgb).any()
    assert one.metres is not None and np.isfinite(one.metres).all()
    assert (one.name, other.name) == ("seed 1", "seed 2")
    np.testing.assert_array_equal(model.act(clip.observation, 1), one.actions)


def test_given_actions_are_what_is_done(model: WorldModel, clip: Clip) -> None:
    given = np.random.default_rng(0).normal(0, 0.01, (16, 7)).astype(np.float32)
    (future,) = model.imagine_given(clip.observation, given, [1])
    np.testing.assert_allclose(future.actions, given, atol=1e-6)
    (other,) = model.imagine_given(clip.observation, -given, [1])
    assert (future.rgb != other.rgb).any() and (future.states[1:] != other.states[1:]).any()
    np.testing.assert_allclose(future.states[0], other.states[0])  # the first one is known


def test_given_actions_are_settled_slowly_and_then_seen(model: WorldModel, clip: Clip) -> None:
    """As many calls for the states as for the video, and every one is counted."""
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1

    truth = model.recorded(clip)
    (future,) = model.imagine_given(clip.observation, truth.actions, [1], tick=tick)
    assert calls == model.calls_given == 2 * model.policy.config.video_steps
    # What is seen is what these states would show: the second half is the regime of given motion.
    (again,) = model.imagine_given(clip.observation, truth.actions, [1], states=future.states, tick=tick)
    assert calls == model.calls_given + model.calls
    apart = np.abs(future.rgb.astype(int) - again.rgb.astype(int))
    assert apart.mean() < 0.25  # of 255: states came back from robot units, rounded


def test_given_motion_is_kept(model: WorldModel, clip: Clip) -> None:
    truth = model.recorded(clip)
    (future,) = model.imagine_given(clip.observation, truth.actions, [1], states=truth.states)
    np.testing.assert_allclose(future.states, truth.states, atol=1e-6)
    np.testing.assert_allclose(future.actions, truth.actions, atol=1e-6)


def test_the_network_meets_only_what_it_was_trained_on(model: WorldModel, clip: Clip) -> None:
    """Given actions are (1 - t) a + t eps at the states' own time, but for the clock's whole numbers."""
    imagination = model.policy.imagine(clip.observation)
    noise = draw_noise(imagination.condition, rollout_generators(1, 5))
    actions = torch.randn_like(noise.actions)
    met: list[tuple[Latents, Times]] = []

    def spy(x: Latents, times: Times, asked: Asked) -> Prediction:
        met.append((x, times))
        return imagination.denoise(x, times, asked)

    start: Imagination = replace(imagination, noise=noise, denoise=spy)
    rollout = WorldModel.roll(start.given_actions(actions))
    steps, acting = model.policy.config.video_steps, model.policy.config.action_steps
    assert len(met) == steps
    for call, (x, times) in enumerate(met):
        t = times.levels[0, 2] / 1000
        assert (t > 0) == (call < acting)
        torch.testing.assert_close(x.actions, (1 - t) * actions + t * noise.actions, atol=0.01, rtol=0)
        assert (times.actions == 2).all() and (times.states[0, 1:] == 2).all()
    assert torch.equal(rollout.latents.actions, actions)

    met.clear()
    WorldModel.roll(start.given_motion(actions, clip.observation.states))
    for x, times in met:
        assert torch.equal(x.actions, actions) and torch.equal(x.states, clip.observation.states)
        assert times.levels[0][times.actions].eq(0).all() and times.levels[0][times.states].eq(0).all()


def test_depth_is_asked_for_once(model: WorldModel, clip: Clip) -> None:
    calls: list[bool] = []
    imagination = model.policy.imagine(clip.observation)

    def spy(x: Latents, times: Times, asked: Asked) -> Prediction:
        calls.append(asked.depth)
        return imagination.denoise(x, times, asked)

    actions = torch.zeros_like(imagination.noise.actions)
    WorldModel.roll(replace(imagination, denoise=spy).given_actions(actions))
    assert calls == [False] * (len(calls) - 1) + [True]


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((31, 7)), r"actions of shape \(31, 7\): .*'ee' .* \(16 steps, 7 numbers\)"),
        (np.zeros((16, 14)), r"actions of shape \(16, 14\)"),
        (np.full((16, 7), np.nan), "actions: NaN or infinite value at step 0, number 0"),
    ],
)
def test_wrong_actions_are_refused(model: WorldModel, clip: Clip, actions: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(model.imagine_given(clip.observation, actions, [0]))


def test_wrong_states_and_batches_are_refused(model: WorldModel, clip: Clip, toy: Any) -> None:
    truth = model.recorded(clip)
    with pytest.raises(ValueError, match=r"wanted \(5 frames, 8 numbers\)"):
        next(model.imagine_given(clip.observation, truth.actions, [0], states=truth.states[:4]))
    with pytest.raises(ValueError, match="imagine one at a time"):
        next(model.imagine(Clip.of(toy.batch([0, 5])).observation, [0]))
