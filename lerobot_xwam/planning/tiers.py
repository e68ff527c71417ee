"""What one can do with the model, and what each way needs on every GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..configuration_xwam import XWAMConfig
from .codecs import CodecMemory, codec_memory
from .network import (
    Load,
    ShardedMemory,
    TrainingMemory,
    acting_memory,
    bytes_of_8bit_moments,
    product_dtype,
    sharded_memory,
    training_memory,
    with_8bit_moments,
)

RANK = 32  # of the LoRA that is planned for


@dataclass(frozen=True)
class Parts:
    """Bytes on one GPU at the moment when it holds most."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # saved for the backward pass, temporaries, casts
    codecs: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.codecs


@dataclass(frozen=True)
class Tier:
    name: str
    use: str  # "inference" or "training"
    how: str  # "", "lora", "8bit", "full" or "fsdp"
    settings: tuple[str, ...]  # of the policy, without --policy.
    cached: bool  # prompts (and in training latents) were prepared: no frozen encoders
    parts: Parts


def inference_tiers(config: XWAMConfig, load: Load) -> Iterator[Tier]:
    """From the most to the least that a policy can do. Its batch is the number of environments."""
    dtype = product_dtype(config)
    codecs = codec_memory(config, load)
    branch = (True, False) if config.has_depth_branch else (False,)
    weights_dtype = str(dtype).removeprefix("torch.")
    for depth in branch:
        kept = config if depth else replace(config, depth="none" if branch[0] else config.depth)
        acting = acting_memory(kept, load, dtype, depth=depth)
        for cached in (False, True):
            calls = [codecs.encode_frame, codecs.film, 0 if cached else codecs.encode_text]
            held = codecs.video + (0 if cached else codecs.text)
            activations = max(acting.peak - acting.weights, *calls)
            yield Tier(
                f"inference, {'with' if depth else 'without'} depth, text encoder "
                f"{'not needed' if cached else 'resident'}",
                "inference",
                "",
                (f"weights_dtype={weights_dtype}", *(() if depth or not branch[0] else ("depth=none",))),
                cached,
                Parts(acting.weights, 0, 0, activations, held),
            )


def training_tiers(config: XWAMConfig, load: Load, gpus: int = 1) -> Iterator[Tier]:
    """From the best to the most modest way of training; each with and without recomputed activations."""
    codecs = codec_memory(config, load)
    variants = [replace(config, checkpoint_every=every) for every in (0, 1)]
    names = {0: "all activations kept", 1: "activations recomputed"}

    def both(name: str, how: str, every: int, parts: Parts, *settings: str) -> Iterator[Tier]:
        """As it is, and with latents and prompts prepared."""
        if gpus > 1 and how != "fsdp":  # DDP's buckets hold all gradients once more
            parts = replace(parts, gradients=2 * parts.gradients)
        for cached in (False, True):
            yield Tier(
                f"{name}, {names[every]}, {'caches' if cached else 'encoders resident'}",
                "training",
                how,
                (*settings, f"checkpoint_every={every}"),
                cached,
                parts if cached else with_encoders(parts, codecs),
            )

    full = [training_memory(variant, load) for variant in variants]
    moments = bytes_of_8bit_moments(config)
    for every, memory in enumerate(full):
        yield from both("full", "full", every, parts_of(memory))
    if gpus > 1:
        for every, variant in enumerate(variants):
            sharded = parts_of_shards(sharded_memory(variant, load, gpus))
            yield from both(f"full, FSDP over {gpus}", "fsdp", every, sharded)
    for every, memory in enumerate(full):
        small = parts_of(with_8bit_moments(memory, moments))
        yield from both("full, 8-bit AdamW", "8bit", every, small, "optimizer_8bit=true")
    half = f"weights_dtype={str(product_dtype(config)).removeprefix('torch.')}"
    for every, variant in enumerate(variants):
        lora = training_memory(variant, load, adapter_rank=RANK)
        yield from both(f"LoRA, rank {RANK}", "lora", every, parts_of(lora), half)


def parts_of(memory: TrainingMemory) -> Parts:
    states = memory.weights + memory.gradients + memory.optimizer
    return Parts(memory.weights, memory.gradients, memory.optimizer, memory.peak - states, 0)


def parts_of_shards(memory: ShardedMemory) -> Parts:
    """FSDP shards weights, gradients and both moments alike: a quarter of the states each."""
    quarter = memory.states // 4
    return Parts(quarter, quarter, 2 * quarter, memory.peak - 4 * quarter, 0)


def with_encoders(parts: Parts, codecs: CodecMemory, *, prompts_cached: bool = False) -> Parts:
    """Resident, and in use before the network's own activations and gradients are there."""
    text = 0 if prompts_cached else codecs.text
    using = max(codecs.encode_clip, 0 if prompts_cached else codecs.encode_text) - parts.gradients
    return replace(
        parts, activations=max(parts.activations + codecs.frames, using), codecs=codecs.video + text
    )
