"""What a user can set. Sizes left at 0 and names left empty come from the preset; derived numbers are
properties.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig, DiffuserSchedulerConfig

from . import features
from .codecs.depth import DEPTH_CODEC_VERSION
from .combinations import refuse_bad_combinations
from .data.missing import refuse_missing
from .data.views import Augmentation
from .fast_dtype import fast_dtype
from .format_version import FORMAT_VERSION, FormatVersion
from .model.fusion import DepthMode
from .model.losses import LossWeights
from .model.noise import NoiseLaw, TimeLaw
from .model.rope import FRAMES_PER_LATENT
from .model.sampler import Plan
from .model.sizes import TransformerSizes
from .presets import PRESETS
from .robot_settings import RobotSettings
from .speed_settings import SpeedSettings
from .training.optimizers import AdamW8bitConfig

FROM_PRESET = 0  # no size is zero, so zero can mean "as the preset has it"

logger = logging.getLogger(__name__)


@PreTrainedConfig.register_subclass("xwam")
@dataclass
class XWAMConfig(PreTrainedConfig, RobotSettings, SpeedSettings):
    """X-WAM: multi-view RGB-D futures and the next action chunk from one diffusion transformer.

    Start small with `--policy.preset=tiny`. For a real robot start from trained weights: `--policy.path=...`
    goes on with a checkpoint, its cameras and its statistics; `--policy.base_weights=...` takes only the
    weights and fits cameras, interface and statistics to your dataset.
    """

    _runtime_dataset_meta: ClassVar[Any] = None  # LeRobot's make_policy puts the dataset's metadata here

    format_version: FormatVersion = FORMAT_VERSION  # of this configuration; a newer one is refused
    preset: str = "wan2.2-5b"

    # --- Weights and codecs to start from ---
    base_weights: str | None = None  # folder or Hub id of X-WAM weights for a new robot or dataset
    base_revision: str | None = None
    # Keep the weights in "bfloat16" or "float32"; "": as they are stored. "bfloat16" is for inference and for
    # the frozen base of an adapter; what is trained is always float32.
    weights_dtype: Literal["", "bfloat16", "float32"] = ""
    codecs: str = ""  # diffusers folder or Hub id with vae/, text_encoder/, tokenizer/; or "tiny"
    codecs_revision: str | None = None
    use_ema: bool = False  # start from ema.safetensors, the running average, instead of the last weights
    # Filled when an adapter is trained: the fingerprint and the name of the weights under it.
    adapter_base: str = ""
    adapter_base_name: str = ""
    text_cache: str | None = None  # file of `lerobot-xwam cache-text`: its prompts need no text encoder

    # --- What the robot is ---
    interface: Literal["auto", "ee", "native"] = (
        "auto"  # "ee": universal end-effector layout; "native": the dataset's own vectors
    )
    # "robocasa": checkpoints run in LeRobot's --env.type=robocasa, whose vectors are not the universal ones
    benchmark: Literal["", "robocasa"] = ""
    state_width: int = 16  # widths of the network: vectors of the dataset are padded to them
    action_width: int = 14
    depth_unit: Literal["mm", "m"] = (
        "mm"  # of float depth frames as they arrive; integer frames are always millimetres
    )
    depth_near: float = FROM_PRESET  # metres; the depth codec maps 1/near to +1 and 1/far to -1
    depth_far: float = FROM_PRESET
    depth_codec_version: int = DEPTH_CODEC_VERSION
    default_task: str | None = None  # the instruction where a dataset or env has none
    # Filled from the dataset on first training, then travel with the checkpoint:
    depth_features: list[str] = field(default_factory=list)
    unused_features: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)  # of the mixture (`lerobot-xwam mix`) it was trained on
    mixture: str = ""  # its identity
    source: str = ""  # whose robot a policy of a mixture acts on: its statistics, cameras and arms

    # --- Horizon ---
    num_frames: int = FROM_PRESET  # frame 0 is given, the others are imagined
    actions_per_frame: int = 4
    n_action_steps: int = 0  # executed of each chunk; 0: all of it
    height: int = FROM_PRESET
    width: int = FROM_PRESET

    # --- Network (0: as in the preset) ---
    dim: int = FROM_PRESET
    ffn_dim: int = FROM_PRESET
    heads: int = FROM_PRESET
    blocks: int = FROM_PRESET
    depth_blocks: int = FROM_PRESET
    time_dim: int = FROM_PRESET
    max_views: int = FROM_PRESET
    latent_channels: int = FROM_PRESET
    vae_stride: int = FROM_PRESET
    text_dim: int = FROM_PRESET
    text_tokens: int = FROM_PRESET
    depth: DepthMode = "interleaved"  # the others are the paper's ablation
    # Of the large products. "auto": bfloat16 where the device has it in hardware, else float32.
    dtype: Literal["", "auto", "bfloat16", "float32"] = ""

    # --- Training ---
    noise_law: NoiseLaw = "ans"  # the others are the paper's ablation
    time_law: TimeLaw = "uniform"  # "beta" with noise_law="synchronous"
    clean_action_ratio: float = 0.5
    time_shift: float = 5.0
    loss_video: float = 1.0
    loss_actions: float = 1.0
    loss_states: float = 1.0
    loss_depth: float = 1.0
    loss_spectrum: float = 0.0
    text_dropout: float = 0.1
    crop_ratio: float = 0.95
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.05
    latent_cache: str | None = None  # folder of `lerobot-xwam cache-latents`: no frames, no VAE
    compile_blocks: bool = False  # torch.compile in training: a minute first, then half the time on a CPU
    checkpoint_every: int = 0  # recompute every k-th block in the backward pass; 0 keeps all activations
    micro_batch: int = 0  # samples in the network at a time; 0: all of the batch. The gradient is the same
    ema_decay: float = 0.0  # keep a running average of the weights in ema.safetensors, e.g. 0.999; 0: none

    # --- Inference ---
    video_steps: int = 50
    action_steps: int = 10
    guidance: float = 1.0
    save_predicted_video: bool = False  # lerobot-eval also writes what the policy imagined
    inference_seed: int | None = None  # None: follow the global seed

    # --- Optimiser ---
    optimizer_lr: float = 3e-5
    optimizer_betas: tuple[float, float] = (0.9, 0.999)
    optimizer_eps: float = 1e-8
    optimizer_weight_decay: float = 0.01
    optimizer_grad_clip_norm: float = 1.0
    optimizer_8bit: bool = False  # moments in 8 bit: needs pip install 'lerobot_policy_xwam[optim8bit]'
    scheduler_warmup_steps: int = 200

    # LeRobot's own normalisation stays out of the way: see processor_xwam.py.
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.IDENTITY,
            "ACTION": NormalizationMode.IDENTITY,
        }
    )

    def __post_init__(self) -> None:
        try:
            self._complete()
        except ValueError as error:
            # On the command line draccus tells only that XWAMConfig could not be made, not why.
            logger.error("X-WAM settings: %s", error)
            raise

    def _complete(self) -> None:
        if problem := FormatVersion(self.format_version).problem():
            raise ValueError(problem)
        super().__post_init__()
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown: use one of {', '.join(map(repr, PRESETS))}")
        for name, value in PRESETS[self.preset].items():
            if not getattr(self, name):
                setattr(self, name, value)
        if self.dtype == "auto":
            self.dtype = fast_dtype(self.device)
        if not self.n_action_steps:
            self.n_action_steps = self.chunk_size
        refuse_bad_combinations(self)

    # --- Derived ---

    @property
    def chunk_size(self) -> int:
        return (self.num_frames - 1) * self.actions_per_frame

    @property
    def latent_frames(self) -> int:
        return (self.num_frames - 1) // FRAMES_PER_LATENT + 1

    @property
    def patch_pixels(self) -> int:
        """Pixels along one side of a video token."""
        return 2 * self.vae_stride

    @property
    def has_depth_branch(self) -> bool:
        return self.depth == "interleaved" and self.depth_blocks > 0

    @property
    def sizes(self) -> TransformerSizes:
        """Depth as further views or channels widens the plain network; only "interleaved" has a branch."""
        return TransformerSizes(
            dim=self.dim,
            ffn_dim=self.ffn_dim,
            heads=self.heads,
            blocks=self.blocks,
            depth_blocks=self.depth_blocks if self.depth == "interleaved" else 0,
            channels=self.latent_channels * (2 if self.depth == "channel" else 1),
            views=self.max_views * (2 if self.depth == "sequence" else 1),
            action_dim=self.action_width,
            state_dim=self.state_width,
            text_dim=self.text_dim,
            time_dim=self.time_dim,
            actions_per_frame=self.actions_per_frame,
        )

    @property
    def plan(self) -> Plan:
        depth = self.has_depth_branch and bool(self.depth_features)  # an untrained branch has nothing to say
        return Plan(self.video_steps, self.action_steps, self.time_shift, depth, self.turbo_frozen_video)

    @property
    def loss_weights(self) -> LossWeights:
        return LossWeights(
            self.loss_video, self.loss_actions, self.loss_states, self.loss_depth, self.loss_spectrum
        )

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.crop_ratio, self.brightness, self.contrast, self.saturation, self.hue)

    @property
    def cameras(self) -> list[str]:
        """RGB features in the order of the network's views: sorted by name."""
        return sorted(key for key in self.image_features if key not in self.depth_features)

    # --- LeRobot's contract ---

    @property
    def observation_delta_indices(self) -> list[int]:
        return list(range(0, self.chunk_size + 1, self.actions_per_frame))

    image_observation_delta_indices = observation_delta_indices
    state_observation_delta_indices = observation_delta_indices

    @property
    def action_delta_indices(self) -> list[int]:
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        return None

    @property
    def weights_name(self) -> str:
        """Of an adapter: those of its base, which stands still."""
        return "ema.safetensors" if self.use_ema and not self.use_peft else "model.safetensors"

    def get_optimizer_preset(self) -> AdamWConfig | AdamW8bitConfig:
        refuse_missing(self.base_weights)  # the first that lerobot-train asks a policy, before the dataset
        kind = AdamW8bitConfig if self.optimizer_8bit else AdamWConfig
        return kind(
            lr=self.optimizer_lr,
            betas=self.optimizer_betas,
            eps=self.optimizer_eps,
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> DiffuserSchedulerConfig:
        return DiffuserSchedulerConfig(name="cosine", num_warmup_steps=self.scheduler_warmup_steps)

    def set_dataset_feature_metadata(self, known: dict[str, dict[str, Any]]) -> None:
        """Called by LeRobot with the dataset's features, before the policy is built."""
        if self.latent_cache:
            known = features.with_cached_cameras(self, known)
        if self.pretrained_path:
            features.check_same(self, known)  # a checkpoint that goes on keeps what it was trained with
        else:
            features.read_dataset(self, known)

    def validate_features(self) -> None:
        features.check(self)
