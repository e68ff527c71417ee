"""XWAMPolicy: the LeRobot contract around the model, and nothing else.

training   batch -> Clip -> codecs -> Latents -> times and noise -> transformer -> losses
acting     batch -> Observation -> codecs (one frame) -> denoise_actions -> Draft -> actions
imagining  Draft -> finish_video -> Rollout -> decoded video and depth
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import ModelCard
from lerobot.configs import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from . import features
from .caching.reading import LatentCache
from .codecs.bundle import Codecs
from .configuration_xwam import XWAMConfig
from .data.batch import Clip, Observation
from .data.views import center_crop
from .imagination import Imagination, film, stack_rollout
from .model.fusion import given_of, join_depth
from .model.losses import LossDivisors, LossMasks, xwam_loss
from .model.noise import CLOCK, add_noise, clock_times, draw_noise, draw_times, velocity
from .model.sampler import guided_denoiser
from .model.transformer import XWAMTransformer, init_from_nothing, init_small
from .model.types import Denoiser, Latents, Prediction, TextMemory, Times
from .model_card import render_model_card
from .training.accumulation import Lesson, loss_in_passes, refuse_accelerates_accumulation
from .training.ema import EMA_FILE, Average, refuse_what_has_no_average
from .training.encoding import Encoded, encode_augmented, encode_centered
from .training.randomness import fixed_generators, rollout_generators, training_generators, uniforms
from .weights.fingerprint import fingerprint, verify_base
from .weights.loading import find_weights, load_exactly
from .weights.precision import make_trainable

# What depends on the robot: with `base_weights`, these start anew where their shapes differ.
ROBOT_WEIGHTS = tuple(
    f"net.{name}" for name in ("view_embedding", "action_in", "action_out", "state_in", "state_out")
)
DEPTH_WEIGHTS = ("net.depth_blocks.", "net.depth_head.")

logger = logging.getLogger(__name__)


class XWAMPolicy(PreTrainedPolicy):
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
        self.config: XWAMConfig = config
        self.codecs = Codecs(
            config.codecs,
            config.codecs_revision,
            _dtype(config.dtype),
            config.text_tokens,
            config.text_cache,
        )
        self.latent_cache: LatentCache | None = None
        self._weights_file: Path | None = None
        self._new_for_this_robot: list[str] = []
        self._average: Average | None = None
        self._average_before: Path | None = None  # of the run that goes on
        if dataset_meta is not None:
            self.codecs.check()
            features.check_dataset(config, dataset_meta)
            if config.latent_cache:
                self.latent_cache = LatentCache.open(config, dataset_meta)
        with torch.device("meta" if empty or config.base_weights else "cpu"):
            self.net = XWAMTransformer(config.sizes, checkpoint_every=config.checkpoint_every)
        if not empty:
            self._start_weights()
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

    # --- Optimiser, adapters, saving ---

    def get_optim_params(self) -> list[torch.nn.Parameter]:
        refuse_accelerates_accumulation(self.config.micro_batch)
        if self.config.ema_decay:
            refuse_what_has_no_average(adapter=self.config.use_peft)
        make_trainable(self.net, self.config.weights_dtype)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> XWAMPolicy:
        self._text_memory.clear()  # weights are about to change
        return super().train(mode)

    def _get_default_peft_targets(self) -> dict[str, Any]:
        return {
            "target_modules": r".*net\.(depth_)?blocks\.\d+\.((self|text)_attn\.(q|k|v|out)|ffn\.(0|2))",
            "modules_to_save": ["action_in", "action_out", "state_in", "state_out", "view_embedding"],
        }

    def _validate_peft_config(self, peft_config: Any) -> None:
        """An adapter needs trained weights under it, must bring what those lack, and remembers which they
        were.
        """
        if self._weights_file is None:
            return super()._validate_peft_config(peft_config)
        if self._weights_file.name == EMA_FILE:
            raise ValueError(
                f"use_ema with an adapter: its base must lie in a model.safetensors. Copy the checkpoint, "
                f"put {self._weights_file} in the place of its model.safetensors, and train on that"
            )
        self.config.adapter_base = fingerprint(self._weights_file)
        self.config.adapter_base_name = str(self.config.pretrained_path or self.config.base_weights)
        kept = tuple(f"net.{name}." for name in peft_config.modules_to_save or ())
        if lost := [name for name in self._new_for_this_robot if not name.startswith(kept)]:
            raise ValueError(
                f"{', '.join(lost)}: new for this robot, but the adapter would neither train nor save them. "
                "Leave --peft.full_training_modules away, or name them there"
            )

    def update(self) -> None:
        """LeRobot calls this after every step of the optimiser."""
        if not self.config.ema_decay:
            return
        if self._average is None:
            self._average = Average(self, self.config.ema_decay)
            if self._average_before is not None and self._average_before.is_file():
                self._average.restore(self._average_before)
        self._average.update(self)

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save_pretrained(save_directory, state_dict)
        if self._average is not None:
            self._average.save(self, save_directory / EMA_FILE)

    def generate_model_card(
        self,
        dataset_repo_id: str,
        model_type: str,
        license: str | None,
        tags: list[str] | None,
        cfg: Any = None,
        dataset_meta: Any = None,
    ) -> ModelCard:
        return render_model_card(self.config, dataset_repo_id, license, tags, cfg, dataset_meta)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        revision: str | None = None,
        strict: bool = True,
        **kwargs: Any,
    ) -> XWAMPolicy:
        """Load exactly: a missing, left-over or misshapen weight is an error with a report, whatever
        `strict` says.
        """
        hub = {
            name: kwargs.pop(name)
            for name in ("force_download", "token", "cache_dir", "local_files_only")
            if name in kwargs
        }
        for obsolete in ("resume_download", "proxies"):
            kwargs.pop(obsolete, None)
        source = str(pretrained_name_or_path)
        saved = PreTrainedConfig.from_pretrained(source, revision=revision, **hub)
        if config is None:
            config = saved
        elif not config.base_weights or source != config.base_weights:
            features.check_processed(config, saved)
        if config.use_peft and source == config.base_weights:
            policy = cls(config, **kwargs)  # what is new for the robot comes with the adapter
        else:
            policy = cls(config, empty=True, **kwargs)
            file = find_weights(source, revision, name=config.weights_name, **hub)
            policy._load(file)
            policy._average_before = file.with_name(EMA_FILE)
        config.use_ema = False  # they are its weights now, to train and to save
        return policy.to(config.device).eval()

    def _start_weights(self) -> None:
        """Weights of a policy that is not read from a checkpoint: another model's, or fresh ones."""
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        base = self.config.base_weights
        if base is None:
            if self.config.preset != "tiny":
                logger.warning(
                    "X-WAM %s starts from random weights. Give --policy.base_weights=... (converted Wan2.2 "
                    "or X-WAM weights) unless you mean to train from nothing",
                    self.config.preset,
                )
            init_from_nothing(self.net, generator)
            return
        robot_parts = [getattr(self.net, name.removeprefix("net.")) for name in ROBOT_WEIGHTS]
        for part in robot_parts:
            part.to_empty(device="cpu")
            init_small(part, generator)
        file = find_weights(base, self.config.base_revision, name=self.config.weights_name)
        new = self._load(file, may_be_new=ROBOT_WEIGHTS)
        self.net.to(self.config.device or "cpu")
        if new:
            logger.info("X-WAM: base weights fit; new for this robot: %s", ", ".join(new))
        self._new_for_this_robot = new
        self.name_or_path = base  # where an adapter finds what it was trained on

    def _load(self, path: Path, may_be_new: Sequence[str] = ()) -> list[str]:
        """Weights straight to their device. A depth branch that is not asked for stays in the file."""
        cfg = self.config
        if cfg.use_peft and cfg.adapter_base:
            verify_base(path, cfg.adapter_base, cfg.adapter_base_name)
        self._weights_file = path
        return load_exactly(
            self,
            path,
            device=cfg.device or "cpu",
            dtype=_dtype(cfg.weights_dtype) if cfg.weights_dtype else None,
            may_be_new=may_be_new,
            may_stay=DEPTH_WEIGHTS if cfg.depth == "none" else (),
        )

    def _depth_modules(self) -> list[torch.nn.Module]:
        return [self.net.depth_blocks, self.net.depth_head] if self.config.has_depth_branch else []

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


def _dtype(name: str) -> torch.dtype:
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def _identities(batch: dict[str, Any], clip: Clip) -> Tensor:
    return batch["index"] if "index" in batch else torch.arange(len(clip.actions))
