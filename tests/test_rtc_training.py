"""Training with prefixes: what the network is shown, what earns a loss, and which settings are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toys import pack, packed_batch, random_frames, small_config

from lerobot_xwam.model.prefix import draw_prefix_lengths
from lerobot_xwam.model.types import Latents, Times
from lerobot_xwam.modeling_xwam import XWAMPolicy


def lesson_of(policy: XWAMPolicy, batch: dict[str, Any]) -> tuple[Latents, Times, dict[str, float]]:
    """What the network is shown in one training step."""
    shown: list[Any] = []
    hook = policy.net.register_forward_pre_hook(lambda _, args: shown.append(args[:2]))
    np.random.seed(0)
    _, logs = policy(batch)
    hook.remove()
    return *shown[0], logs


def test_training_gives_prefixes() -> None:
    plain = small_config(clean_action_ratio=0.0)
    policy, batch = XWAMPolicy(plain).train(), packed_batch(plain, batch=12)
    noisy, times, _ = lesson_of(policy, batch)
    policy.config = small_config(clean_action_ratio=0.0, rtc_training_delay=6)
    prefixed, prefixed_times, logs = lesson_of(policy, batch)
    given = prefixed_times.actions == 0  # B K
    lengths = given.sum(dim=1)
    assert lengths.min() == 0 and lengths.max() == 6 and len(lengths.unique()) > 3
    assert all(row[:n].all() and not row[n:].any() for row, n in zip(given, lengths, strict=True))
    assert torch.equal(prefixed.actions[given], batch["action"][given])
    assert torch.equal(prefixed.actions[~given], noisy.actions[~given])  # no other number has changed
    assert torch.equal(prefixed.video, noisy.video) and torch.equal(prefixed.states, noisy.states)
    assert torch.equal(times.levels, prefixed_times.levels)
    again = lesson_of(policy, batch)
    assert torch.equal(again[1].actions, prefixed_times.actions) and again[2] == logs
    policy.eval()
    assert (lesson_of(policy, batch)[1].actions != 0).all()  # validation is comparable


def test_a_given_prefix_earns_no_loss() -> None:
    """The network says zero to anything (fresh heads): the loss is the mean of the targets that count."""
    config = small_config(clean_action_ratio=0.0, rtc_training_delay=6)
    policy, frames = XWAMPolicy(config).train(), random_frames(config, batch=1)
    np.random.seed(1)
    lengths = set()
    for _ in range(8):
        batch = pack(config, frames)
        shown: list[Any] = []
        hook = policy.net.register_forward_pre_hook(lambda _, args, seen=shown: seen.append(args[:2]))
        state = np.random.get_state()
        _, before = policy(batch)
        length = int((shown[0][1].actions == 0).sum())
        lengths.add(length)
        batch["action"][:, :length] += 100
        np.random.set_state(state)
        _, after = policy(batch)
        hook.remove()
        assert after["loss_actions"] == pytest.approx(before["loss_actions"], rel=1e-5)
    assert len(lengths) > 2


def test_half_have_no_prefix_and_all_other_lengths_are_equally_likely() -> None:
    uniforms = (torch.arange(12000) + 0.5) / 12000
    assert draw_prefix_lengths(6, uniforms).bincount().tolist() == [6000] + [1000] * 6
    assert draw_prefix_lengths(6, torch.tensor([0.0, 1 - 2**-24])).tolist() == [0, 6]
    assert draw_prefix_lengths(1, torch.tensor([0.49, 0.51])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rtc_training_delay": 16}, "between 0 .* and 15"),
        ({"rtc_training_delay": -1}, "between 0"),
        ({"rtc_training_delay": 4, "loss_spectrum": 0.1}, "spectrum"),
        ({"rtc_method": "magic"}, "rtc_method='magic'"),
        ({"imagine": "always"}, "imagine='always'.*'background'"),
        ({"imagine_every_n": 0}, "imagine_every_n=0"),
        ({"action_guard": "yes"}, "action_guard"),
        ({"on_stale": "panic"}, "on_stale"),
        ({"stale_after": -1}, "stale_after=-1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        small_config(**settings)
