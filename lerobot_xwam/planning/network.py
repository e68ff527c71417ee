"""The network's memory, found by running its own code on tensors without memory (torch's FakeTensorMode).

Nothing is repeated here of the architecture, so nothing can drift from it. Autocast is that of the CPU, whose
list of operations is the GPU's for everything the network does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..configuration_xwam import XWAMConfig
from ..model.fusion import given_of
from ..model.noise import clock_times
from ..model.rope import rope_table
from ..model.transformer import XWAMTransformer, stack
from ..model.types import Latents, Prediction, Times
from ..weights.precision import make_trainable
from .live_bytes import LiveBytes


@dataclass(frozen=True)
class Load:
    """What the network is given."""

    batch: int  # samples at a time
    views: int


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one step of one process; `passing` and `stepping` are peaks of everything but the codecs."""

    weights: int
    gradients: int
    optimizer: int
    passing: int  # forward and backward
    stepping: int  # the optimiser's step
    trained: int  # parameters
    largest: int  # bytes of the largest trained weight

    @property
    def peak(self) -> int:
        return max(self.passing, self.stepping)


@dataclass(frozen=True)
class ShardedMemory:
    """Bytes of one process under FSDP."""

    states: int  # its shard of weights, gradients and both moments, float32: a quarter each
    step_extra: int  # temporaries of the optimiser's step
    passing: int  # peak of activations and the gradients' shards, without weights
    gathered: int  # two blocks, and all that lies outside of blocks, with the latter's gradients

    @property
    def peak(self) -> int:
        passing = self.states * 3 // 4 + self.passing + self.gathered
        return max(passing, self.states + self.step_extra)


@dataclass(frozen=True)
class ActingMemory:
    weights: int
    peak: int  # with weights and the prompt's keys and values


class _Holder(nn.Module):
    """Gives the network the name that it has in the policy, which adapters are told by."""

    def __init__(self, net: XWAMTransformer) -> None:
        super().__init__()
        self.net = net


def acting_memory(config: XWAMConfig, load: Load, dtype: torch.dtype, *, depth: bool) -> ActingMemory:
    """One call of the network, its prompt read before. `depth` as in the last call of an imagined video."""
    net = _network(config, dtype)
    with without_memory() as live:
        enter(net)
        weights = live.hold(net.parameters())
        x, times, text = _inputs(config, load)
        with live, torch.no_grad(), _autocast(config):
            memory = net.read_text(text, depth=depth)
            del text
            said = net(x, times, memory, depth=depth)
        del said
    return ActingMemory(weights, live.peak)


def training_memory(config: XWAMConfig, load: Load, *, adapter_rank: int = 0) -> TrainingMemory:
    """Forward, backward and AdamW, as the policy does them. `adapter_rank`: LoRA, its base kept in the dtype
    of the products; 0: all weights, in float32.
    """
    net = _network(config, product_dtype(config) if adapter_rank else torch.float32)
    if adapter_rank:
        _adapt(net, adapter_rank)
    make_trainable(net, config.weights_dtype if adapter_rank else "")
    with without_memory() as live:
        enter(net)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        weights = live.hold(net.parameters())
        with live:
            _forward_backward(net, config, load)
            passing = live.peak
            gradients = sum(p.grad.nbytes for p in trained if p.grad is not None)
            moments, stepping = _step(trained, live)
    return TrainingMemory(
        weights=weights,
        gradients=gradients,
        optimizer=moments,
        passing=passing + moments,
        stepping=stepping,
        trained=sum(p.numel() for p in trained),
        largest=max(p.nbytes for p in trained),
    )


def sharded_memory(config: XWAMConfig, load: Load, processes: int) -> ShardedMemory:
    """FSDP of full training, one unit per block and one for the rest, as configs/accelerate_*_fsdp.yaml say.

    Shards are float32; what is gathered has the dtype of the products (Accelerate's mixed precision). Of a
    gradient only a shard stays as soon as it is made. While a block works, the next one is fetched: two are
    whole at a time. What lies outside of blocks stays whole.
    """
    net = _network(config, product_dtype(config))
    kept: list[Tensor] = []

    def keep_a_shard(parameter: Tensor) -> None:
        parameter.grad = None
        kept.append(torch.empty(-(-parameter.numel() // processes), dtype=torch.float32))

    with without_memory() as live:
        enter(net)
        trained = list(net.parameters())
        weights = live.hold(trained)
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(keep_a_shard)
        with live:
            _forward_backward(net, config, load)
        passing = live.peak - weights
        block = sum(p.nbytes for p in stack(net.blocks)[0].parameters())
        root = weights - block * (len(net.blocks) + len(net.depth_blocks))
        copy = 4 * -(-sum(p.numel() for p in trained) // processes)  # one float32 per parameter
        kept.clear()
    return ShardedMemory(4 * copy, copy, passing, 2 * block + 2 * root)


def bytes_of_8bit_moments(config: XWAMConfig) -> int:
    """torchao's AdamW8bit: a byte each, a float32 scale per 256 and a table of 256 values, for weights of
    4096 numbers or more that 256 divides; float32 for the others.
    """
    with torch.device("meta"):
        net = XWAMTransformer(config.sizes)
    total = 0
    for parameter in net.parameters():
        numbers = parameter.numel()
        blockwise = numbers >= 4096 and numbers % 256 == 0
        total += 2 * (numbers + 4 * (numbers // 256) + 4 * 256 if blockwise else 4 * numbers)
    return total


def with_8bit_moments(memory: TrainingMemory, moments: int, copies: float = 2) -> TrainingMemory:
    """The same training with torchao's optimiser, which steps weight by weight. `copies` of a weight are made
    on the way: both new moments, as its compiled step was seen to (2.01 on a CPU; 13.25 if not compiled).
    """
    passing = memory.passing - memory.optimizer + moments
    stepping = memory.weights + memory.gradients + moments + round(copies * memory.largest)
    return replace(memory, optimizer=moments, passing=passing, stepping=stepping)


def product_dtype(config: XWAMConfig) -> torch.dtype:
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


@contextmanager
def without_memory() -> Iterator[LiveBytes]:
    rope_table.cache_clear()  # it would keep tensors of the one world for the other
    try:
        with FakeTensorMode():
            yield LiveBytes()
    finally:
        rope_table.cache_clear()


def _network(config: XWAMConfig, dtype: torch.dtype) -> XWAMTransformer:
    """On the meta device, where adapters can be put on."""
    with torch.device("meta"):
        net = XWAMTransformer(config.sizes, checkpoint_every=config.checkpoint_every)
    return net.to(dtype)


def enter(module: nn.Module) -> None:
    """From the meta device into the running FakeTensorMode, whose tensors know of devices and autocast."""
    fresh: dict[int, Any] = {}  # a tied weight stays one weight
    for part in module.modules():
        for name, old in part.named_parameters(recurse=False, remove_duplicate=False):
            if id(old) not in fresh:
                empty = torch.empty(old.shape, dtype=old.dtype)
                fresh[id(old)] = nn.Parameter(empty, requires_grad=old.requires_grad), old
            part.register_parameter(name, fresh[id(old)][0])
        for name, buffer in part.named_buffers(recurse=False):
            part.register_buffer(name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _adapt(net: XWAMTransformer, rank: int) -> None:
    """As `lerobot-train --peft.method_type=LORA --peft.r=RANK` does."""
    from peft import LoraConfig, get_peft_model

    from ..modeling_xwam import XWAMPolicy

    targets = XWAMPolicy._get_default_peft_targets(None)  # type: ignore[arg-type]
    get_peft_model(_Holder(net), LoraConfig(r=rank, lora_alpha=rank, **targets))


def _inputs(config: XWAMConfig, load: Load) -> tuple[Latents, Times, Tensor]:
    sizes, batch, inside = config.sizes, load.batch, 2 if config.depth == "sequence" else 1
    x = Latents(
        video=torch.empty(
            batch,
            sizes.channels,
            config.latent_frames,
            load.views * inside,
            config.height // config.vae_stride,
            config.width // config.vae_stride,
        ),
        actions=torch.empty(batch, config.chunk_size, sizes.action_dim),
        states=torch.empty(batch, config.num_frames, sizes.state_dim),
    )
    clock = torch.empty(batch)
    times = clock_times(clock, clock, given_of(x, config.depth))
    return x, times, torch.empty(batch, config.text_tokens, sizes.text_dim)


def _autocast(config: XWAMConfig) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=config.dtype == "bfloat16")


def _forward_backward(net: XWAMTransformer, config: XWAMConfig, load: Load) -> None:
    x, times, text = _inputs(config, load)
    with _autocast(config):
        said = net(x, times, net.embed_text(text), depth=config.has_depth_branch)
    _some_loss(said).backward()


def _some_loss(said: Prediction) -> Tensor:
    """Its own memory is that of a few latents, as the true loss's."""
    parts = [said.velocity.video, said.velocity.actions, said.velocity.states]
    parts += [] if said.depth is None else [said.depth]
    return torch.stack([part.float().square().mean() for part in parts]).sum()


def _step(trained: list[nn.Parameter], live: LiveBytes) -> tuple[int, int]:
    """-> (bytes of the moments, peak of a later step). `foreach` is what AdamW chooses on a GPU."""
    optimizer = torch.optim.AdamW(trained, foreach=True)
    before = live.now
    optimizer.step()
    moments = live.now - before
    live.restart_peak()
    optimizer.step()
    return moments, live.peak
