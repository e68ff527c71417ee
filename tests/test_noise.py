"""The laws of time, the forward process and the solver, for any setting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import equal, some_latents

from lerobot_xwam.model.losses import LossMasks, LossWeights, xwam_loss
from lerobot_xwam.model.noise import (
    add_noise,
    beta_from_uniform,
    clock_times,
    draw_noise,
    draw_times,
    given_first,
    shift_times,
    velocity,
)
from lerobot_xwam.model.schedule import flow_grid, unipc_step, unipc_steps
from lerobot_xwam.model.types import Latents, Prediction

shifts = st.floats(1.0, 20.0)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=50, deadline=None)


@few
@given(shift=shifts, t=st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_shifting_keeps_ends_and_order_and_goes_toward_noise(shift: float, t: list[float]) -> None:
    times = torch.tensor(sorted(t), dtype=torch.float64)
    shifted = shift_times(times, shift)
    assert shift_times(torch.tensor([0.0, 1.0]), shift).tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    rounding = 1e-12
    assert (shifted.diff() >= -rounding).all() and (shifted >= times - rounding).all()
    assert (shifted <= 1 + rounding).all()
    back = shifted / (shift - (shift - 1) * shifted)
    assert torch.allclose(back, times)


@few
@given(shift=shifts, ratio=st.floats(0, 1), seed=seeds)
def test_the_asynchronous_law_never_puts_actions_above_the_video(
    shift: float, ratio: float, seed: int
) -> None:
    uniforms = torch.rand(500, 3, generator=torch.Generator().manual_seed(seed))
    t_video, t_action = draw_times(500, clean_action_ratio=ratio, shift=shift, uniforms=uniforms)
    assert (t_video >= t_action - 1e-6).all() and (t_action >= 0).all() and (t_video <= 1).all()
    clean = uniforms[:, 2] < ratio
    assert (t_action[clean] == 0).all() and (t_action[~clean] > 0).any() == (~clean).any()


@few
@given(seed=seeds)
def test_a_draw_is_decided_by_its_own_uniforms(seed: int) -> None:
    uniforms = torch.rand(8, 3, generator=torch.Generator().manual_seed(seed))
    for law in ("ans", "decoupled", "synchronous"):
        together = draw_times(8, law=law, uniforms=uniforms)
        alone = draw_times(1, law=law, uniforms=uniforms[3:4])
        assert together[0][3] == alone[0][0] and together[1][3] == alone[1][0]


def test_the_laws_before_the_shift() -> None:
    uniforms = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0))
    t_video, t_action = draw_times(len(uniforms), clean_action_ratio=0.3, shift=1.0, uniforms=uniforms)
    clean = t_action == 0
    assert clean.float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert t_video[clean].mean().item() == pytest.approx(0.5, abs=0.005)
    gap = ((t_video - t_action) / (1 - t_action))[~clean]
    assert gap.mean().item() == pytest.approx(0.6, abs=0.005)  # Beta(1.5, 1)
    assert gap.median().item() == pytest.approx(0.5 ** (1 / 1.5), abs=0.005)
    apart = draw_times(len(uniforms), law="decoupled", shift=1.0, uniforms=uniforms)
    assert torch.corrcoef(torch.stack(apart))[0, 1].abs() < 0.01
    one, same = draw_times(len(uniforms), law="synchronous", time_law="beta", shift=1.0, uniforms=uniforms)
    assert torch.equal(one, same) and one.mean().item() == pytest.approx(0.6, abs=0.005)
    with pytest.raises(ValueError, match="'ans', 'decoupled' or 'synchronous'"):
        draw_times(1, law="other")  # type: ignore[arg-type]


def test_beta_has_the_distribution_it_is_named_after() -> None:
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(beta_from_uniform(u) ** 1.5, u)


@few
@given(seed=seeds, t_video=st.floats(0, 1), t_action=st.floats(0, 1))
def test_noising_goes_from_data_to_noise_along_the_velocity(
    seed: int, t_video: float, t_action: float
) -> None:
    torch.manual_seed(seed)
    clean, eps = some_latents(1), some_latents(1)
    known = given_first(clean)
    t_o, t_a = torch.tensor([t_video]), torch.tensor([t_action])
    noisy, target = add_noise(clean, eps, t_o, t_a, known), velocity(clean, eps)
    assert torch.equal(noisy.video[:, :, 0], clean.video[:, :, 0])
    assert torch.equal(noisy.states[:, 0], clean.states[:, 0])
    back = noisy.actions - t_a * target.actions
    assert torch.allclose(back, clean.actions, atol=1e-5)
    assert torch.allclose((noisy.video - t_o * target.video)[:, :, 1:], clean.video[:, :, 1:], atol=1e-5)


def test_given_values_carry_time_0_and_everything_else_its_own() -> None:
    x = some_latents(2, frames=3)
    times = clock_times(torch.tensor([100.0, 900.0]), torch.tensor([50.0, 0.0]), given_first(x))
    assert times.levels.tolist() == [[0, 100, 50], [0, 900, 0]]
    assert times.video[0, :, 0].tolist() == [0, 1, 1]
    assert set(times.actions.flatten().tolist()) == {2}
    assert times.states[0].tolist() == [0, 2, 2, 2, 2]


def test_noise_is_drawn_per_sample_in_a_fixed_order() -> None:
    like = some_latents(2)
    seeds = (7, 8)
    drawn = draw_noise(like, [torch.Generator().manual_seed(seed) for seed in seeds])
    for i, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        video, actions, states = (
            torch.randn(1, *part.shape[1:], generator=generator)
            for part in (like.video, like.actions, like.states)
        )
        assert equal(drawn.map(lambda x, i=i: x[i : i + 1]), Latents(video, actions, states))


@few
@given(steps=st.integers(1, 60), shift=shifts, seed=seeds)
def test_the_solver_follows_straight_lines_exactly(steps: int, shift: float, seed: int) -> None:
    """If the network says the true velocity, any number of steps ends on the data."""
    generator = torch.Generator().manual_seed(seed)
    data, eps = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    grid, memory = flow_grid(steps, shift), ()
    x = (1 - grid.sigmas[0]) * data + grid.sigmas[0] * eps
    for i, step in enumerate(unipc_steps(grid)):
        x, memory = unipc_step(x, eps - data, memory, step)
        sigma = grid.sigmas[i + 1]
        assert torch.allclose(x, (1 - sigma) * data + sigma * eps, atol=1e-6)
    assert torch.allclose(x, data, atol=1e-6)


@few
@given(steps=st.integers(1, 200), shift=shifts)
def test_grids_fall_from_nearly_noise_to_data(steps: int, shift: float) -> None:
    grid = flow_grid(steps, shift)
    sigmas = torch.tensor(grid.sigmas)
    assert len(grid) == steps == len(sigmas) - 1
    assert 0.999 <= grid.sigmas[0] < 1 and grid.sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert all(
        -1e-3 < 1000 * sigma - clock < 1.001
        for sigma, clock in zip(grid.sigmas, grid.timesteps, strict=False)
    )


def test_a_grid_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least one"):
        flow_grid(0, 5.0)


@few
@given(seed=seeds, batch=st.integers(1, 5))
def test_losses_of_samples_average_to_the_loss(seed: int, batch: int) -> None:
    torch.manual_seed(seed)
    said, target, depth = (
        some_latents(batch),
        some_latents(batch),
        torch.randn(2, *some_latents(batch).video.shape),
    )
    latents = said.map(lambda x: torch.rand_like(x) > 0.3)
    masks = LossMasks(latents, torch.rand(batch) > 0.4, depth=torch.rand_like(depth[0]) > 0.5)
    weights = LossWeights(actions=0.7, states=0.3, depth=0.5, spectrum=0.25)
    loss, logs = xwam_loss(Prediction(said, depth[0]), target, depth[1], masks, weights)
    each, _ = xwam_loss(Prediction(said, depth[0]), target, depth[1], masks, weights, "none")
    assert each.shape == (batch,) and torch.allclose(each.mean(), loss)
    assert set(logs) == {f"loss_{name}" for name in ("video", "actions", "states", "depth", "spectrum")}

    spoiled = said.map(lambda x, mask: torch.where(mask, x, 1e3), latents)
    again, _ = xwam_loss(Prediction(spoiled, depth[0]), target, depth[1], masks, LossWeights())
    plain, _ = xwam_loss(Prediction(said, depth[0]), target, depth[1], masks, LossWeights())
    assert torch.allclose(again, plain), "masked values must not count"


def test_clean_actions_alone_give_no_loss_and_no_nan() -> None:
    said, target = some_latents(2), some_latents(2)
    masks = LossMasks(said.map(torch.ones_like), torch.zeros(2, dtype=torch.bool))
    _, logs = xwam_loss(Prediction(said), target, None, masks, LossWeights(spectrum=1.0))
    assert logs["loss_actions"] == logs["loss_states"] == logs["loss_spectrum"] == 0
