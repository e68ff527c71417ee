"""XWAMPolicy: the LeRobot contract around the model, and nothing else.

training   batch -> Clip -> codecs -> Latents -> times and noise -> transformer -> losses: here
acting     batch -> Observation -> codecs (one frame) -> denoise_actions -> Draft -> actions: acting/policy.py
imagining  Draft -> finish_video -> Rollout -> decoded video and depth: acting/policy.py
weights    fresh, a base, a checkpoint, adapters, averages, the Hub: checkpoints.py
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from . import features
from .acting.policy import ActingPolicy
from .caching.reading import LatentCache
from .codecs.bundle import Codecs
from .configuration_xwam import XWAMConfig
from .data.batch import SOURCE, Clip
from .fast_dtype import warn_of_emulation
from .model.fusion import given_of, join_depth
from .model.losses import LossDivisors, LossMasks, xwam_loss
from .model.noise import CLOCK, add_noise, clock_times, draw_noise, draw_times, velocity
from .model.prefix import draw_prefix_lengths, give_prefix
from .model.transformer import XWAMTransformer
from .model.types import Latents
from .training.accumulation import Lesson, loss_in_passes
from .training.encoding import Encoded, encode_augmented, encode_centered
from .training.randomness import fixed_generators, training_generators, uniforms
from .weights.precision import dtype_named


class XWAMPolicy(ActingPolicy):
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
        if config.dtype == "bfloat16":
            warn_of_emulation(config.device or "cpu")
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
        if self.training and cfg.rtc_training_delay:  # drawn last: without it, every number is the same
            drawn = uniforms(1, generators)[:, 0].to(chance)
            given = give_prefix(given, draw_prefix_lengths(cfg.rtc_training_delay, drawn))
        noisy = add_noise(clean, noise, t_video, t_action, given)
        views = None if clip.views is None or bool(clip.views.all()) else clip.views.to(noisy.video.device)
        masks = LossMasks(
            Latents(
                video=~given.video if views is None else ~given.video & views[:, None, None, :, None, None],
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
            views=views,
        )
        divisors = LossDivisors.count(masks, lesson.target, lesson.depth)
        if 0 < cfg.micro_batch < len(chance):
            loss, logs = self._in_passes(lesson, divisors, reduction)
        else:
            losses, logs = self._losses(lesson, divisors)
            loss = losses if reduction == "none" else losses.mean()
        return loss, {**logs, **shares(batch, cfg.sources)}

    def _losses(self, lesson: Lesson, divisors: LossDivisors) -> tuple[Tensor, dict[str, float]]:
        """One loss per sample. -> B"""
        depth, weights = lesson.depth, self.config.loss_weights
        with self._autocast():
            text = self.net.embed_text(lesson.text)
            asked = {"depth": depth is not None, "views": lesson.views}
            prediction = self.net(lesson.noisy, lesson.times, text, **asked)
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


def _identities(batch: dict[str, Any], clip: Clip) -> Tensor:
    return batch["index"] if "index" in batch else torch.arange(len(clip.actions))


def shares(batch: dict[str, Any], sources: list[str]) -> dict[str, float]:
    """How much of a mixture's batch is of which source: LeRobot logs the averages."""
    if SOURCE not in batch:
        return {}
    counts = torch.bincount(batch[SOURCE], minlength=len(sources)).tolist()
    return {f"share_{name}": n / sum(counts) for name, n in zip(sources, counts, strict=True)}
