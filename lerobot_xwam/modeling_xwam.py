"""XWAMPolicy: the LeRobot contract around the model, and nothing else.

training   batch -> Clip -> codecs -> Latents -> times and noise -> transformer -> losses
acting     batch -> Observation -> codecs (one frame) -> denoise_actions -> Draft -> actions
imagining  Draft -> finish_video -> Rollout -> decoded video and depth
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import torch
from torch import Tensor

from . import features
from .caching.reading import LatentCache
from .checkpoints import CheckpointedPolicy
from .codecs.bundle import Codecs
from .configuration_xwam import XWAMConfig
from .data.batch import Clip, Observation
from .data.views import center_crop
from .imagination import Imagination, film, stack_rollout
from .model.fusion import given_of, join_depth
from .model.losses import LossDivisors, LossMasks, xwam_loss
from .model.noise import CLOCK, add_noise, clock_times, draw_noise, draw_times, velocity
from .model.sampler import guided_denoiser
from .model.transformer import XWAMTransformer
from .model.types import Denoiser, Latents, Prediction, TextMemory, Times
from .training.accumulation import Lesson, loss_in_passes
from .training.encoding import Encoded, encode_augmented, encode_centered
from .training.randomness import fixed_generators, rollout_generators, training_generators, uniforms
from .weights.precision import dtype_named


class XWAMPolicy(CheckpointedPolicy):
    config_class = XWAMConfig
    name = "xwam"
    _fsdp_wrap_modules = ["Block"]
    _no_split_modules = ["Block"]

    def __init__(
        self, config: XWAMConfig, *, empty: bool = False, dataset_meta: Any = None, **_: Any
    ) -> None:
        """`empty` builds on the meta device, for weights that are about to be read. `dataset_meta` comes in
        training.
        """
        super().__init__(config)
        config.validate_features()
        self.codecs = Codecs(
            config.codecs,
            config.codecs_revision,
            dtype_named(config.dtype),
            config.text_tokens,
            config.text_cache,
        )
        self.latent_cache: LatentCache | None = None
        if dataset_meta is not None:
            self.codecs.check()
            features.check_dataset(config, dataset_meta)
            if config.latent_cache:
                self.latent_cache = LatentCache.open(config, dataset_meta)
        with torch.device("meta" if empty or config.base_weights else "cpu"):
            self.net = XWAMTransformer(config.sizes, checkpoint_every=config.checkpoint_every)
        if not empty:
            self._start_weights()
        if config.compile_blocks and dataset_meta is not None:
            self.net.compile_blocks()
        for module in self._depth_modules() if not config.depth_features else ():
            module.requires_grad_(False)  # no depth to learn from: leave the branch as it is
        self.reset()

    # --- Training ---

    def forward(
        self, batch: dict[str, Any], reduction: Literal["mean", "none"] = "mean"
    ) -> tuple[Tensor, dict[str, float]]:
        """The training loss of a packed batch. `reduction="none"` gives one loss per sample, of the same
        mean.
        """
        clip, cfg = Clip.of(batch), self.config
        generators = (
            training_generators(len(clip.actions))
            if self.training
            else fixed_generators(_identities(batch, clip))
        )
        clean, clean_depth, depth_mask = self._encode_clip(clip, generators, batch)
        chance = uniforms(4, generators).to(clean.video.device)  # B 4: three for the times, one for the text
        t_video, t_action = draw_times(
            len(chance),
            law=cfg.noise_law,
            clean_action_ratio=cfg.clean_action_ratio,
            time_law=cfg.time_law,
            shift=cfg.time_shift,
            uniforms=chance[:, :3],
        )
        dropped = (chance[:, 3] < cfg.text_dropout) & self.training
        tasks = self._instructions(clip.observation.tasks)
        tasks = ["" if drop else task for task, drop in zip(tasks, dropped.tolist(), strict=True)]

        given, noise = given_of(clean, cfg.depth), draw_noise(clean, generators)
        noisy = add_noise(clean, noise, t_video, t_action, given)
        masks = LossMasks(
            Latents(
                video=~given.video,
                actions=clip.action_mask * ~given.actions,
                states=clip.state_mask * ~given.states,
            ),
            sample=t_action > 0,
            depth=depth_mask,
        )
        lesson = Lesson(
            noisy=noisy,
            times=clock_times(CLOCK * t_video, CLOCK * t_action, given),
            text=self._encode_text(tasks),
            target=velocity(clean, noise),
            depth=clean_depth if cfg.has_depth_branch else None,
            masks=masks,
        )
        divisors = LossDivisors.count(masks, lesson.target, lesson.depth)
        if 0 < cfg.micro_batch < len(chance):
            return self._in_passes(lesson, divisors, reduction)
        losses, logs = self._losses(lesson, divisors)
        return (losses if reduction == "none" else losses.mean()), logs

    def _losses(self, lesson: Lesson, divisors: LossDivisors) -> tuple[Tensor, dict[str, float]]:
        """One loss per sample. -> B"""
        depth, weights = lesson.depth, self.config.loss_weights
        with self._autocast():
            text = self.net.embed_text(lesson.text)
            prediction = self.net(lesson.noisy, lesson.times, text, depth=depth is not None)
        return xwam_loss(prediction, lesson.target, depth, lesson.masks, weights, "none", divisors)

    def _in_passes(
        self, lesson: Lesson, divisors: LossDivisors, reduction: str
    ) -> tuple[Tensor, dict[str, float]]:
        size = self.config.micro_batch
        if reduction == "none":
            raise ValueError(
                f"micro_batch={size}: the gradients are made in passes before LeRobot could weigh the "
                "samples. Leave --sample_weighting or --policy.micro_batch away"
            )
        return loss_in_passes(
            self, len(lesson.text), size, lambda samples: self._losses(lesson.of(samples), divisors)
        )

    @torch.no_grad()
    def _encode_clip(
        self, clip: Clip, generators: list[torch.Generator], batch: dict[str, Any]
    ) -> tuple[Latents, Tensor | None, Tensor | None]:
        """-> (clean latents, clean depth latents or None, which depth latents count: B 1 T V h w)"""
        cfg = self.config
        encoded = self._encoded(clip, generators, batch)
        joined = join_depth(encoded.video, encoded.depth, cfg.depth)
        clean = Latents(joined, clip.actions, clip.observation.states)
        return clean, encoded.depth if cfg.has_depth_branch else None, encoded.valid

    def _encoded(self, clip: Clip, generators: list[torch.Generator], batch: dict[str, Any]) -> Encoded:
        """The clip through the frozen VAE, or what it once made of the same window."""
        cfg, rgb = self.config, clip.observation.video
        depth = clip.depth if cfg.depth != "none" else None
        blind = rgb.shape[2] == 0
        if self.latent_cache is not None and (self.training or blind):
            return self.latent_cache.read(batch["index"], generators).to(self._device)
        if blind:
            raise ValueError(
                f"the batch has no camera images; this policy sees {cfg.cameras}. If the dataset is that "
                "of a latent cache, name it: --policy.latent_cache=FOLDER. Otherwise record the cameras, or "
                "rename them with --rename_map"
            )
        codec = self.codecs.video(self._device)
        if self.training:
            return encode_augmented(codec, rgb, depth, cfg.augmentation, generators)
        return encode_centered(codec, rgb, depth, cfg.crop_ratio)

    # --- Acting ---

    def reset(self) -> None:
        """Forget the running chunk. LeRobot calls this at the start of every episode."""
        self._queue: deque[Tensor] = deque(maxlen=self.config.n_action_steps)
        self._text_memory: dict[tuple[str, ...], TextMemory] = {}
        self.last_predicted_latents: Tensor | None = None

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **kwargs: Any) -> Tensor:
        """The next action, B A: from the running chunk, or from a new one when it is used up."""
        if not self._queue:
            actions = self.predict_action_chunk(batch, **kwargs)[:, : self.config.n_action_steps]
            self._queue.extend(actions.unbind(dim=1))
        return self._queue.popleft()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], noise: Latents | None = None, **_: Any) -> Tensor:
        """The next `chunk_size` actions in model space, B K A; the postprocessor restores robot units."""
        imagination = self.imagine(Observation.of(batch), noise)
        draft = imagination.draft()
        if self.config.save_predicted_video:
            self.last_predicted_latents = stack_rollout(imagination.finish(draft))
        return draft.actions

    @torch.no_grad()
    def imagine(self, observation: Observation, noise: Latents | None = None) -> Imagination:
        """One imagination from one observation: actions first (`draft`), then as much video as wanted
        (`finish`).
        """
        cfg = self.config
        first = center_crop(observation.video[:, :, :1], cfg.crop_ratio)  # B V 1 3 H W
        seen = join_depth(self.codecs.video(self._device).encode(first), None, cfg.depth)  # B C 1 V h w
        batch, states = len(seen), observation.states[:, :1]
        condition = Latents(
            video=seen.expand(-1, -1, cfg.latent_frames, -1, -1, -1),
            actions=states.new_zeros(batch, cfg.chunk_size, cfg.action_width),
            states=states.expand(-1, cfg.num_frames, -1),
        )
        if noise is None:
            noise = draw_noise(condition, rollout_generators(batch, cfg.inference_seed))
        return Imagination(
            denoise=self._denoiser(self._instructions(observation.tasks)),
            noise=noise,
            condition=condition,
            given=given_of(condition, cfg.depth),
            plan=cfg.plan,
            mode=cfg.depth,
        )

    def _denoiser(self, tasks: list[str]) -> Denoiser:
        text = empty = self._read(tasks)
        if self.config.guidance != 1:
            empty = self._read([""] * len(tasks))
        guided = guided_denoiser(self.net, text, empty, self.config.guidance)

        def denoise(x: Latents, times: Times, depth: bool) -> Prediction:
            with self._autocast():
                return guided(x, times, depth)

        return denoise

    def _read(self, tasks: list[str]) -> TextMemory:
        """The prompts' keys and values; the last ones are kept, unless weights may change in between."""
        key = tuple(tasks)
        if key in self._text_memory:
            return self._text_memory[key]
        with self._autocast():
            memory = self.net.read_text(self._encode_text(tasks), depth=self.config.plan.depth)
        if not self.training:
            while len(self._text_memory) >= 2:  # the running prompt and the empty one
                self._text_memory.pop(next(iter(self._text_memory)))
            self._text_memory[key] = memory
        return memory

    @torch.no_grad()
    def decode_predicted_latents(self, latents: Tensor) -> Tensor:
        """What `lerobot-eval` writes with `save_predicted_video`: every chunk's frames, RGB above depth.

        latents: B C (chunks T) V h w -> frames H W 3 uint8 of the first sample, cameras side by side
        """
        codec = self.codecs.video(self._device)
        return film(latents, codec, self.config.latent_frames, cameras=len(self.config.cameras))

    def train(self, mode: bool = True) -> XWAMPolicy:
        self._text_memory.clear()  # weights are about to change
        return super().train(mode)

    @property
    def _device(self) -> torch.device:
        return self.net.view_embedding.weight.device

    def _autocast(self) -> torch.autocast:
        # No cache: a pass needs each weight once, and their copies would be half as large as the weights.
        half = self.config.dtype == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    def _instructions(self, tasks: list[str]) -> list[str]:
        tasks = [task or self.config.default_task or "" for task in tasks]
        if not all(tasks):
            raise ValueError(
                f"task: no instruction for sample {tasks.index('')} of {len(tasks)}. Record the dataset with "
                'one, or set one for all: --policy.default_task="pick up the cube"'
            )
        return tasks

    def _encode_text(self, tasks: list[str]) -> Tensor:
        return self.codecs.text(self._device).encode(tasks)


def _identities(batch: dict[str, Any], clip: Clip) -> Tensor:
    return batch["index"] if "index" in batch else torch.arange(len(clip.actions))
