"""XWAMPolicy: the LeRobot contract around the model, and nothing else.

training   batch -> Clip -> codecs -> Latents -> times and noise -> transformer -> losses
acting     batch -> Observation -> codecs (one frame) -> denoise_actions -> Draft -> actions
imagining  Draft -> finish_video -> Rollout -> decoded video and depth
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import ModelCard
from lerobot.configs import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from . import features
from .codecs.bundle import Codecs
from .codecs.depth import valid_latents
from .configuration_xwam import XWAMConfig
from .data.batch import Clip, Observation
from .data.views import Augmentation, augment, center_crop
from .imagination import Imagination, film, stack_rollout
from .model.fusion import given_of, join_depth
from .model.losses import LossMasks, xwam_loss
from .model.noise import CLOCK, add_noise, clock_times, draw_noise, draw_times, velocity
from .model.sampler import guided_denoiser
from .model.transformer import XWAMTransformer, init_from_nothing, init_small
from .model.types import Denoiser, Latents, Prediction, TextMemory, Times
from .model_card import render_model_card
from .randomness import fixed_generators, rollout_generators, training_generators, uniforms
from .weights.loading import find_weights, load_exactly

# What depends on the robot: with `base_weights`, these start anew where their shapes differ.
ROBOT_WEIGHTS = tuple(
    f"net.{name}" for name in ("view_embedding", "action_in", "action_out", "state_in", "state_out")
)

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
        self.codecs = Codecs(config.codecs, config.codecs_revision, _dtype(config.dtype), config.text_tokens)
        if dataset_meta is not None:
            self.codecs.check()
            features.check_dataset(config, dataset_meta)
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
        clean, clean_depth, depth_mask = self._encode_clip(clip, generators)
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
        with self._autocast():
            prediction = self.net(
                noisy,
                clock_times(CLOCK * t_video, CLOCK * t_action, given),
                self.net.embed_text(self._encode_text(tasks)),
                depth=cfg.has_depth_branch and clean_depth is not None,
            )
        masks = LossMasks(
            Latents(
                video=~given.video,
                actions=clip.action_mask * ~given.actions,
                states=clip.state_mask * ~given.states,
            ),
            sample=t_action > 0,
            depth=depth_mask,
        )
        loss, logs = xwam_loss(
            prediction, velocity(clean, noise), clean_depth, masks, cfg.loss_weights, reduction=reduction
        )
        return loss, logs

    @torch.no_grad()
    def _encode_clip(
        self, clip: Clip, generators: list[torch.Generator]
    ) -> tuple[Latents, Tensor | None, Tensor | None]:
        """-> (clean latents, clean depth latents or None, which depth latents count: B 1 T V h w)"""
        cfg, vae = self.config, self.codecs.video(self._device)
        rgb, depth = clip.observation.video, clip.depth if cfg.depth != "none" else None
        if self.training:
            how = Augmentation(cfg.crop_ratio, cfg.brightness, cfg.contrast, cfg.saturation, cfg.hue)
            rgb, depth = augment(rgb, depth, how, generators)
        else:
            rgb = center_crop(rgb, cfg.crop_ratio)
            depth = None if depth is None else center_crop(depth, cfg.crop_ratio, depth=True)
        video, depth_latents, mask = vae.encode(rgb), None, None
        if depth is not None:
            depth_latents = vae.encode(depth[:, :, :, :1].expand(-1, -1, -1, 3, -1, -1))
            mask = valid_latents(depth[:, :, :, 1:], depth_latents)
        joined = join_depth(video, depth_latents, cfg.depth)
        clean = Latents(joined, clip.actions, clip.observation.states)
        return clean, depth_latents if cfg.has_depth_branch else None, mask

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
        """An adapter needs trained weights under it, and must bring what those lack."""
        if not self.config.base_weights:
            return super()._validate_peft_config(peft_config)
        kept = tuple(f"net.{name}." for name in peft_config.modules_to_save or ())
        if lost := [name for name in self._new_for_this_robot if not name.startswith(kept)]:
            raise ValueError(
                f"{', '.join(lost)}: new for this robot, but the adapter would neither train nor save them. "
                "Leave --peft.full_training_modules away, or name them there"
            )

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
        if config is None:
            config = PreTrainedConfig.from_pretrained(source, revision=revision, **hub)
        if config.use_peft and source == config.base_weights:
            policy = cls(config, **kwargs)  # what is new for the robot comes with the adapter
        else:
            policy = cls(config, empty=True, **kwargs)
            load_exactly(policy, find_weights(source, revision, **hub))
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
        new = load_exactly(self, find_weights(base, self.config.base_revision), may_be_new=ROBOT_WEIGHTS)
        if new:
            logger.info("X-WAM: base weights fit; new for this robot: %s", ", ".join(new))
        self._new_for_this_robot = new
        self.name_or_path = base  # where an adapter finds what it was trained on

    def _depth_modules(self) -> list[torch.nn.Module]:
        return [self.net.depth_blocks, self.net.depth_head] if self.config.has_depth_branch else []

    @property
    def _device(self) -> torch.device:
        return self.net.view_embedding.weight.device

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16")

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
