"""Real-time chunking among smooth motions whose best denoiser is known: chunks meet without a jump."""

from __future__ import annotations

import pytest
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from torch import Tensor
from toys import small_config

from lerobot_xwam.acting.chunking import LastPlan
from lerobot_xwam.imagination import Imagination
from lerobot_xwam.model.noise import CLOCK, given_first
from lerobot_xwam.model.prefix import noise_levels, overlap_weights
from lerobot_xwam.model.sampler import Plan
from lerobot_xwam.model.schedule import flow_grid
from lerobot_xwam.model.types import Asked, Latents, Prediction, Times

STEPS = 32
_APART = (torch.arange(STEPS)[:, None] - torch.arange(STEPS)).abs().double() * 5**0.5 / 10
SMOOTH = (1 + _APART + _APART**2 / 3) * torch.exp(-_APART)  # Matérn 5/2: twice differentiable


def best_denoiser(x: Latents, times: Times, asked: Asked) -> Prediction:
    """E[a | x] for motions drawn from a smooth Gaussian process, at any mixture of times per token."""
    levels = times.levels[0, times.actions[0]].double() / CLOCK  # K
    keep = 1 - levels
    seen_by = keep[:, None] * SMOOTH * keep + torch.diag(levels**2 + 1e-4)
    mean = SMOOTH * keep @ torch.linalg.solve(seen_by, x.actions[0].double())  # K A
    sigma = noise_levels(times, flow_grid(10, 5.0)).double()
    velocity = ((x.actions.double() - mean) / sigma.view(-1, 1, 1)).float()
    return Prediction(Latents(torch.zeros_like(x.video), velocity, torch.zeros_like(x.states)))


def smooth_imagination(seed: int, width: int = 14) -> Imagination:
    generator = torch.Generator().manual_seed(seed)
    noise = Latents(
        torch.zeros(1, 1, 2, 1, 2, 2),
        torch.randn(1, STEPS, width, generator=generator),
        torch.zeros(1, 2, 3),
    )
    condition = noise.map(torch.zeros_like)
    return Imagination(best_denoiser, noise, condition, given_first(condition), Plan(10, 10), "none")


def drive(delay: int, method: str) -> tuple[Tensor, list[int]]:
    """Chunk after chunk, 15 of 32 actions executed, a new one asked for `delay` actions before it is there.

    -> (what the robot did: T A, where chunks met)
    """
    config = small_config(rtc_method=method if method != "naive" else "prefix")
    config.num_frames = STEPS // config.actions_per_frame + 1
    config.rtc_config = RTCConfig(execution_horizon=STEPS - 15)
    queue = smooth_imagination(0).draft().actions[0]
    done, borders = [queue[:15]], []
    for number in range(1, 13):
        left_over = queue[15:]
        imagination = smooth_imagination(number)
        if method != "naive":
            plan = LastPlan.read(left_over, delay, config)
            assert plan is not None
            imagination = plan.continued(imagination, config)
        chunk = imagination.draft().actions[0]
        done.append(left_over[:delay])  # meanwhile
        borders.append(sum(map(len, done)))
        done.append(chunk[delay:15])
        queue = chunk
    return torch.cat(done), borders


def jumps(motion: Tensor, borders: list[int]) -> tuple[float, float]:
    """Second differences where chunks meet. -> (largest, RMS)"""
    bend = motion.diff(dim=0).diff(dim=0)  # bend[i] is about motion[i : i + 3]
    at = torch.stack([bend[border - 2 : border] for border in borders])
    return float(at.abs().max()), float(at.square().mean().sqrt())


@pytest.mark.parametrize("delay", range(1, 13))
def test_chunks_meet_without_a_jump(delay: int) -> None:
    naive, ours = (jumps(*drive(delay, method)) for method in ("naive", "prefix"))
    print(f"delay {delay}: largest {naive[0]:.3f} -> {ours[0]:.4f}, RMS {naive[1]:.3f} -> {ours[1]:.4f}")
    assert naive[0] > 3 * ours[0]
    assert naive[1] > 3 * ours[1]


def test_lerobots_guidance_is_an_option() -> None:
    naive, guided = (jumps(*drive(6, method)) for method in ("naive", "guided"))
    print(f"guided: largest {naive[0]:.3f} -> {guided[0]:.4f}, RMS {naive[1]:.3f} -> {guided[1]:.4f}")
    assert naive[1] > guided[1]


def test_the_overlap_leans_by_its_share() -> None:
    """For a network that always says c, the chunk is (1 - w) c + w p, to the rounding of the solver."""
    config = small_config()
    config.num_frames = STEPS // config.actions_per_frame + 1
    said, rest = torch.randn(1, STEPS, 14), torch.randn(1, 12, 14)

    def always(x: Latents, times: Times, asked: Asked) -> Prediction:
        sigma = noise_levels(times, flow_grid(10, 5.0)).view(-1, 1, 1)
        velocity = (x.actions - said) / sigma
        return Prediction(Latents(torch.zeros_like(x.video), velocity, torch.zeros_like(x.states)))

    plan = LastPlan.read(rest, 5, config)
    assert plan is not None
    imagination = smooth_imagination(0)
    imagination = Imagination(**{**vars(imagination), "denoise": always})
    chunk = plan.continued(imagination, config).draft().actions
    share = overlap_weights(5, 12, "linear")[:, None]
    assert torch.equal(chunk[:, :5], rest[:, :5])
    torch.testing.assert_close(
        chunk[:, 5:12], ((1 - share) * said[:, :12] + share * rest)[:, 5:], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(chunk[:, 12:], said[:, 12:], atol=1e-4, rtol=1e-4)
