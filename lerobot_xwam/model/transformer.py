"""The X-WAM transformer: one trunk for video, actions and states, and a depth branch that only listens.

          video latents   actions   states            text
               |patch        |MLP      |MLP             |MLP
               +--view embedding       |                |
               '------------- tokens --'         keys and values, once per prompt
                                |
                     trunk blocks 0 .. N-M-1
                                |------------ video tokens ------------.
                     trunk block N-M+j  --- post-RoPE K, V --->  depth block j      (j = 0 .. M-1)
                                |                                       |
               velocity heads: video, actions, states        depth head: clean depth latent

The trunk never reads the depth branch, so switching depth off changes no other output, and running it on the
last denoising step alone gives the same depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .layers import Block, Float32Linear, Head, KeyValue, sinusoid, small_mlp
from .one_size import OneSize
from .rope import rope_table
from .sizes import TokenLayout, TransformerSizes
from .types import Latents, Prediction, TextMemory, Times, TimeTable, VideoRows


@dataclass(frozen=True)
class Way:
    """What all blocks of one pass share, and the tokens that enter the first."""

    layout: TokenLayout
    rope: KeyValue  # cosine and sine, each L head_dim
    embedding: Tensor  # B D dim
    modulation: Tensor  # B D 6 dim
    time_index: Tensor  # 1|B L
    tokens: Tensor  # B L dim, float32


class XWAMTransformer(nn.Module):
    def __init__(self, sizes: TransformerSizes, *, checkpoint_every: int = 0) -> None:
        """`checkpoint_every` k > 0 recomputes every k-th block in the backward pass to save memory."""
        super().__init__()
        self.sizes = sizes
        self.checkpoint_every = checkpoint_every
        self._compiled: OneSize | None = None
        dim, patch = sizes.dim, (1, sizes.patch, sizes.patch)

        self.patch_in = nn.Conv3d(sizes.channels, dim, kernel_size=patch, stride=patch)
        self.view_embedding = nn.Embedding(sizes.views, dim)
        self.action_in = small_mlp(sizes.action_dim, dim, dim, nn.GELU(approximate="tanh"))
        self.state_in = small_mlp(sizes.state_dim, dim, dim, nn.GELU(approximate="tanh"))
        self.text_in = nn.Sequential(
            nn.Linear(sizes.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_in = small_mlp(sizes.time_dim, dim, dim, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), Float32Linear(dim, 6 * dim))

        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.blocks))
        self.depth_blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth_blocks))

        self.video_head = Head(sizes)
        self.action_out = small_mlp(dim, dim, sizes.action_dim, nn.GELU(approximate="tanh"))
        self.state_out = small_mlp(dim, dim, sizes.state_dim, nn.GELU(approximate="tanh"))
        if sizes.depth_blocks:
            self.depth_head = Head(sizes)

    def join_projections(self) -> int:
        """One product for queries, keys and values of each block, while nothing is trained. -> of how many"""
        return sum(block.self_attn.join() for block in stack(self.blocks) + stack(self.depth_blocks))

    def compile_blocks(self, **how: Any) -> None:
        """For training: fuse each block's many small operations. Blocks of equal shapes share a compilation.

        `how`: to torch.compile, for tests
        """
        self._compiled = OneSize()
        for block in stack(self.blocks) + stack(self.depth_blocks):
            block.compile(**{"dynamic": False, **how})

    def embed_text(self, context: Tensor) -> Tensor:
        """Text features -> embedded prompt. context: B text text_dim, padding included and attended to."""
        return self.text_in(context)

    def read_text(self, context: Tensor, *, depth: bool = True) -> TextMemory:
        """Keys and values of a prompt for all blocks: a rollout computes them once and reads them often.

        Without `depth` those of the depth blocks are left out, a quarter of the work at 5 B.
        """
        embedded = self.embed_text(context)
        return TextMemory(
            trunk=tuple(block.read_text(embedded) for block in stack(self.blocks)),
            depth=tuple(block.read_text(embedded) for block in stack(self.depth_blocks) if depth),
        )

    def forward(
        self,
        x: Latents,
        times: Times,
        text: TextMemory | Tensor,
        *,
        depth: bool,
        video: VideoRows = "all",
        table: TimeTable | None = None,
        views: Tensor | None = None,
    ) -> Prediction:
        """Velocities of all three modalities, and with `depth` the clean depth latent.

        In training `text` is the embedded prompt: every block reads it itself, which keeps its weights
        inside its own forward (FSDP gathers them there) and out of the saved activations (checkpointing).
        `video`: which of its velocities are read; `table`: the times of a schedule, computed before.
        `views`, B V: which cameras each sample has, if not all; nothing looks at the tokens of the others.
        """
        if depth and not self.depth_blocks:
            raise ValueError("depth was asked for, but this network was built without a depth branch")
        way = self.begin(x, times, table)
        tokens, of_video, since = way.tokens, slice(0, way.layout.video), way.layout.first_read(video)
        depth_tokens, depth_rope = tokens[:, of_video], (way.rope[0][of_video], way.rope[1][of_video])
        first_depth, last = len(self.blocks) - len(self.depth_blocks), len(self.blocks) - 1
        read_trunk = (text,) * len(self.blocks) if isinstance(text, Tensor) else text.trunk
        read_depth = (text,) * len(self.depth_blocks) if isinstance(text, Tensor) else text.depth
        seen = None if views is None else seen_tokens(views, way.layout)  # B 1 1 L
        seen_by_depth = None if seen is None else torch.cat([seen[..., of_video], seen], dim=-1)

        for i, block in enumerate(self.blocks):
            if depth and i == first_depth:
                depth_tokens = tokens[:, of_video].contiguous()  # laid out as for the other blocks
            tokens, memory = self._run(
                i,
                block,
                tokens,
                way.modulation,
                way.time_index,
                way.rope,
                read_trunk[i],
                since=since if i == last else 0,
                seen=seen,
            )
            if depth and (j := i - first_depth) >= 0:
                depth_tokens, _ = self._run(
                    i,
                    self.depth_blocks[j],
                    depth_tokens,
                    way.modulation,
                    way.time_index[:, of_video],
                    depth_rope,
                    read_depth[j],
                    memory,
                    seen=seen_by_depth,
                )
        velocity = self.speak(way, tokens, x, video)
        if not depth:
            return Prediction(velocity)
        said = self.depth_head(depth_tokens, way.embedding, way.time_index[:, of_video])
        return Prediction(velocity, unpatchify(said, way.layout, self.sizes.patch))

    def begin(self, x: Latents, times: Times, table: TimeTable | None = None) -> Way:
        """Everything that stands before the first block."""
        layout = TokenLayout.of(x.video, x.actions, x.states, self.sizes)
        embedding, modulation = (table.at if table else self.embed_times)(times.levels)
        return Way(
            layout=layout,
            rope=rope_table(layout, self.sizes.head_dim, x.video.device),
            embedding=embedding,
            modulation=modulation,
            time_index=token_times(times, layout),
            tokens=self.embed(x),
        )

    def speak(self, way: Way, tokens: Tensor, x: Latents, video: VideoRows) -> Latents:
        """What the heads make of the last block's tokens, those from the first that is read on."""
        since, layout = way.layout.first_read(video), way.layout
        of_video, actions, states = tokens.split([layout.video - since, layout.actions, layout.states], dim=1)
        if video == "none":
            moving = torch.full((), torch.nan, device=x.video.device).expand(x.video.shape)
        else:
            index = way.time_index[:, since : layout.video]
            moving = unpatchify(self.video_head(of_video, way.embedding, index), layout, self.sizes.patch)
            if video == "imagined":
                moving = torch.cat([torch.zeros_like(moving[:, :, :1]), moving], dim=2)
        return Latents(moving, self.action_out(actions), self.state_out(states))

    def embed(self, x: Latents) -> Tensor:
        """Latents -> tokens. The view embedding is added to video tokens only. -> B L dim, float32"""
        frames, views = x.video.shape[2:4]
        flat = x.video.transpose(2, 3).flatten(2, 3)  # B C V*T H W: one-frame patches never mix frames
        patches = self.patch_in(flat).float()  # B dim V*T rows columns
        patches = patches.unflatten(2, (views, frames)).permute(0, 3, 2, 4, 5, 1)  # B T V rows columns dim
        patches = patches + self.view_embedding.weight[:views].float()[:, None, None]
        return torch.cat([patches.flatten(1, 4), self.action_in(x.actions), self.state_in(x.states)], dim=1)

    def embed_times(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Clock values -> (embedding for the heads: B D dim, modulation for the blocks: B D 6 dim)."""
        embedding = self.time_in(sinusoid(levels, self.sizes.time_dim))
        return embedding, self.time_projection(embedding).unflatten(-1, (6, -1))

    def tabulate_times(self, clock: list[float]) -> TimeTable:
        """The time MLPs for every clock value of a schedule at once: `forward` then only looks them up."""
        values = torch.tensor(
            sorted(set(clock)), dtype=torch.float32, device=self.view_embedding.weight.device
        )
        return TimeTable(values, *self.embed_times(values))

    def _run(
        self,
        index: int,
        block: nn.Module,
        tokens: Tensor,
        *args: Tensor | KeyValue,
        since: int = 0,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        more: dict[str, Any] = ({"since": since} if since else {}) | ({} if seen is None else {"seen": seen})
        call = self._compiled.way_of(block, len(tokens)) if self._compiled else block
        if self.checkpoint_every and index % self.checkpoint_every == 0 and torch.is_grad_enabled():
            return checkpoint(call, tokens, *args, use_reentrant=False, **more)
        return call(tokens, *args, **more)


def stack(blocks: nn.ModuleList) -> list[Block]:
    return cast(list[Block], list(blocks))


def token_times(times: Times, layout: TokenLayout) -> Tensor:
    """Which of the distinct times each token carries. -> 1|B L"""
    per_view = times.video.expand(-1, -1, layout.views)  # a per-frame index may leave the view axis at 1
    of_video = per_view[..., None].expand(-1, -1, -1, layout.patches).flatten(1)
    batch = max(part.shape[0] for part in (of_video, times.actions, times.states))
    return torch.cat([part.expand(batch, -1) for part in (of_video, times.actions, times.states)], dim=1)


def seen_tokens(views: Tensor, layout: TokenLayout) -> Tensor:
    """Cameras that are there -> tokens that may be looked at.  # B V -> B 1 1 L, bool"""
    of_video = views[:, None, :, None].expand(-1, layout.frames, -1, layout.patches).flatten(1)
    others = views.new_ones(len(views), layout.actions + layout.states)
    return torch.cat([of_video, others], dim=1)[:, None, None]


def unpatchify(patches: Tensor, layout: TokenLayout, patch: int) -> Tensor:
    """B (T V rows columns) (p_h p_w C), C fastest -> B C T V H W, for all latent frames or only some"""
    grid = (-1, layout.views, layout.rows, layout.columns)
    x = patches.unflatten(1, grid).unflatten(-1, (patch, patch, -1))  # B T V rows columns p_h p_w C
    return x.permute(0, 7, 1, 2, 3, 5, 4, 6).flatten(6, 7).flatten(4, 5)


def init_new_parts(net: XWAMTransformer, generator: torch.Generator) -> None:
    """What Wan does not bring: depth blocks copied from the trunk; depth head, views and MLPs N(0, 0.02)."""
    copy_depth_blocks(net)
    new: list[nn.Module] = [net.view_embedding, net.action_in, net.action_out, net.state_in, net.state_out]
    if net.depth_blocks:
        new.append(net.depth_head)
    for module in new:
        init_small(module, generator)


def copy_depth_blocks(net: XWAMTransformer) -> None:
    first = len(net.blocks) - len(net.depth_blocks)
    for j, block in enumerate(net.depth_blocks):
        block.load_state_dict(net.blocks[first + j].state_dict())


def init_small(module: nn.Module, generator: torch.Generator) -> None:
    """Weights N(0, 0.02), biases 0."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.02, generator=generator)


def init_from_nothing(net: XWAMTransformer, generator: torch.Generator) -> None:
    """Weights for training without Wan: Xavier everywhere, depth blocks copied, output heads at zero."""
    init_new_parts(net, generator)
    for name, parameter in net.named_parameters():
        if name.endswith("modulation"):
            nn.init.normal_(parameter, std=net.sizes.dim**-0.5, generator=generator)
        elif name.endswith("norm.weight"):
            nn.init.ones_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name != "view_embedding.weight":
            nn.init.xavier_uniform_(parameter.flatten(1), generator=generator)
    copy_depth_blocks(net)
    heads = [net.video_head.out, net.action_out[-1], net.state_out[-1]]
    for head in heads + ([net.depth_head.out] if net.depth_blocks else []):
        nn.init.zeros_(cast(nn.Linear, head).weight)
