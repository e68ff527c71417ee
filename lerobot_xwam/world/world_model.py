"""The policy as a world model: what it would do and see, and what it would see if this were done.

joint    the policy's own actions: T_a network calls settle actions and states, the rest paint the video
given    actions from elsewhere (recorded, edited, another policy's). First what hands will do: the actions
         stay on the straight line between noise and themselves while the states are denoised beside them,
         at the times of training. Then what will be seen: with actions and states clean from the first
         call, the trained t_a = 0 regime. With states given as well, only that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.data.batch import Clip, Observation
from lerobot_xwam.data.scaling import Scaling
from lerobot_xwam.data.views import center_crop
from lerobot_xwam.imagination import Imagination
from lerobot_xwam.model.noise import draw_noise
from lerobot_xwam.model.types import Latents, Rollout
from lerobot_xwam.pictures import rgb_pixels
from lerobot_xwam.training.encoding import encode_centered
from lerobot_xwam.training.randomness import rollout_generators

from .decoding import Piece, decode_in_pieces, frame_count
from .footage import Floats, Footage
from .grid import Grid

if TYPE_CHECKING:
    from lerobot_xwam.modeling_xwam import XWAMPolicy

Tick = Callable[[], Any]
"""Called after every network call."""


@dataclass(frozen=True)
class WorldModel:
    policy: XWAMPolicy
    scaling: Scaling  # of the checkpoint's processors
    fps: float  # of the robot's control steps

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.policy.config.cameras)

    @property
    def grid(self) -> Grid:
        config = self.policy.config
        return Grid((config.height, config.width), config.crop_ratio)

    @property
    def seconds(self) -> float:
        """Between two frames."""
        return self.policy.config.actions_per_frame / self.fps

    @property
    def calls(self) -> int:
        """Network calls of one imagination."""
        return self.policy.config.video_steps

    @property
    def calls_given(self) -> int:
        """Network calls of one imagination of given actions."""
        return 2 * self.calls

    def imagine(
        self, observation: Observation, seeds: Iterable[int], tick: Tick = lambda: None
    ) -> Iterator[Footage]:
        """Futures of the policy's own actions, one per seed. The observation is a batch of one."""
        for seed in seeds:
            yield self.film(self.roll(self._start(observation, seed, tick)), f"seed {seed}")

    def act(self, observation: Observation, seed: int) -> Floats:
        """The actions of `imagine` with this seed, without its video. -> K A, robot units"""
        return self._raw_actions(self._start(observation, seed, lambda: None).draft().actions)

    def imagine_given(
        self,
        observation: Observation,
        actions: Floats,  # K A, robot units
        seeds: Iterable[int],
        states: Floats | None = None,  # F P, robot units, if they are known as well
        tick: Tick = lambda: None,
    ) -> Iterator[Footage]:
        """Futures of these actions, one per seed."""
        told = self.scaled_actions(actions)
        known = None if states is None else self._scaled_states(states)
        for seed in seeds:
            start = self._start(observation, seed, tick)
            moving = self._states_of(start, told) if known is None else known
            yield self.film(self.roll(start.given_motion(told, moving)), f"seed {seed}, given actions")

    @staticmethod
    def _states_of(start: Imagination, actions: Tensor) -> Tensor:
        """How the hands move if this is done. 1 K A -> 1 S P

        In as few steps as the policy takes for its own actions, states would be settled while the given
        ones are still hidden in noise: they would hardly follow.
        """
        patient = replace(start.plan, action_steps=start.plan.video_steps, frozen_video=False)
        return replace(start, plan=patient).given_actions(actions).draft(video=False).latents.states

    @staticmethod
    def roll(imagination: Imagination) -> Rollout:
        return imagination.finish(imagination.draft())

    def pieces(self, rollout: Rollout) -> Iterator[Piece]:
        """RGB-D frames as they are ready, view by view."""
        return decode_in_pieces(rollout, self._codec, self._depth_codec)

    def film(self, rollout: Rollout, name: str) -> Footage:
        """All pieces together, with states and actions in robot units."""
        config, latents = self.policy.config, rollout.latents
        frames = frame_count(latents.video.shape[2])
        shape = (len(self.cameras), frames, config.height, config.width)
        rgb = np.empty((*shape, 3), dtype=np.uint8)
        metres = None if rollout.depth is None else np.empty(shape, dtype=np.float32)
        for piece in self.pieces(rollout):
            span = slice(piece.start, piece.start + len(piece.rgb))
            rgb[piece.view, span] = piece.rgb
            if metres is not None and piece.metres is not None:
                metres[piece.view, span] = piece.metres
        return Footage(
            self.cameras,
            rgb,
            metres,
            self._raw_states(latents.states),
            self._raw_actions(latents.actions),
            self.seconds,
            name,
        )

    def seen(self, observation: Observation) -> NDArray[np.uint8]:
        """The pictures of the moment of acting, as in footage. -> V H W 3"""
        return rgb_pixels(center_crop(observation.video[:, :, :1], self.policy.config.crop_ratio)[0])[:, 0]

    def recorded(self, clip: Clip, name: str = "truth") -> Footage:
        """What really happened, through the same resize and crop. The clip is a batch of one."""
        ratio, metres = self.policy.config.crop_ratio, None
        seen = center_crop(clip.observation.video, ratio)[0]  # V F 3 H W
        if clip.depth is not None:
            code, read = center_crop(clip.depth, ratio, depth=True)[0].unbind(dim=2)  # V F H W
            metres = torch.where(read > 0.5, self._depth_codec.decode(code), torch.nan).cpu().numpy()
        return Footage(
            self.cameras,
            rgb_pixels(seen),
            metres,
            self._raw_states(clip.observation.states),
            self._raw_actions(clip.actions),
            self.seconds,
            name,
        )

    def through_codec(self, clip: Clip, name: str) -> Footage:
        """What happened as the video codec keeps it: a perfect imagination would look like this."""
        config = self.policy.config
        depth = clip.depth if config.depth != "none" else None
        encoded = encode_centered(self._codec, clip.observation.video, depth, config.crop_ratio)
        latents = Latents(encoded.video, clip.actions, clip.observation.states)
        return self.film(Rollout(latents, encoded.depth), name)

    def scaled_actions(self, actions: Floats) -> Tensor:
        """Robot units -> the network's, checked. K A -> 1 K width"""
        config, dims = self.policy.config, len(self.scaling.action_half)
        raw = torch.as_tensor(np.asarray(actions), dtype=torch.float32)
        if raw.shape != (config.chunk_size, dims):
            raise ValueError(
                f"actions of shape {tuple(raw.shape)}: this policy's interface {config.interface!r} and "
                f"horizon want ({config.chunk_size} steps, {dims} numbers)"
            )
        return self._padded(self.scaling.action(_finite(raw, "actions")), config.action_width)

    def _scaled_states(self, states: Floats) -> Tensor:
        config, dims = self.policy.config, len(self.scaling.state_half)
        raw = torch.as_tensor(np.asarray(states), dtype=torch.float32)
        if raw.shape != (config.num_frames, dims):
            raise ValueError(
                f"states of shape {tuple(raw.shape)}: wanted ({config.num_frames} frames, {dims} numbers)"
            )
        return self._padded(self.scaling.state(_finite(raw, "states")), config.state_width)

    def _padded(self, values: Tensor, width: int) -> Tensor:
        values = torch.nn.functional.pad(values, (0, width - values.shape[-1]))
        return values.unsqueeze(0).to(self._device)

    def _raw_states(self, states: Tensor) -> Floats:
        dims = len(self.scaling.state_half)
        return self.scaling.raw_state(states[0, :, :dims].float().cpu()).numpy()

    def _raw_actions(self, actions: Tensor) -> Floats:
        dims = len(self.scaling.action_half)
        return self.scaling.raw_action(actions[0, :, :dims].float().cpu()).numpy()

    def _start(self, observation: Observation, seed: int, tick: Tick) -> Imagination:
        if len(observation.states) != 1:
            raise ValueError(f"an observation of {len(observation.states)} samples: imagine one at a time")
        imagination = self.policy.imagine(observation)
        noise = draw_noise(imagination.condition, rollout_generators(1, seed))

        def counted(*arguments: Any) -> Any:
            prediction = imagination.denoise(*arguments)
            tick()
            return prediction

        return replace(imagination, denoise=counted, noise=noise)

    @property
    def _device(self) -> torch.device:
        return self.policy.net.view_embedding.weight.device

    @property
    def _codec(self) -> Any:
        return self.policy.codecs.video(self._device)

    @property
    def _depth_codec(self) -> DepthCodec:
        return DepthCodec(self.policy.config.depth_near, self.policy.config.depth_far)


def _finite(values: Tensor, what: str) -> Tensor:
    if not torch.isfinite(values).all():
        where = (~torch.isfinite(values)).nonzero()[0].tolist()
        raise ValueError(f"{what}: NaN or infinite value at step {where[0]}, number {where[1]}")
    return values
