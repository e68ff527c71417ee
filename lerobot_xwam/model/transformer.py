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

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .layers import Block, Float32Linear, Head, KeyValue, sinusoid, small_mlp
from .rope import rope_table
from .sizes import TokenLayout, TransformerSizes
from .types import Latents, Prediction, TextMemory, Times


class XWAMTransformer(nn.Module):
    def __init__(self, sizes: TransformerSizes, *, checkpoint_every: int = 0) -> None:
        """`checkpoint_every` k > 0 recomputes every k-th block in the backward pass to save memory."""
        super().__init__()
        self.sizes = sizes
        self.checkpoint_every = checkpoint_every
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

    def compile_blocks(self) -> None:
        """Fuse each block's many small operations; blocks of equal shapes share one compilation."""
        for block in stack(self.blocks) + stack(self.depth_blocks):
            block.compile(dynamic=False)

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

    def forward(self, x: Latents, times: Times, text: TextMemory | Tensor, *, depth: bool) -> Prediction:
        """Velocities of all three modalities, and with `depth` the clean depth latent.

        In training `text` is the embedded prompt: every block reads it itself, which keeps its weights
        inside its own forward (FSDP gathers them there) and out of the saved activations (checkpointing).
        """
        if depth and not self.depth_blocks:
            raise ValueError("depth was asked for, but this network was built without a depth branch")
        layout = TokenLayout.of(x.video, x.actions, x.states, self.sizes)
        rope = rope_table(layout, self.sizes.head_dim, x.video.device)
        embedding, modulation = self.embed_times(times.levels)
        time_index = token_times(times, layout)  # 1|B L
        tokens = self.embed(x)  # B L dim
        of_video = slice(0, layout.video)
        depth_tokens, depth_rope = tokens[:, of_video], (rope[0][of_video], rope[1][of_video])
        first_depth = len(self.blocks) - len(self.depth_blocks)
        read_trunk = (text,) * len(self.blocks) if isinstance(text, Tensor) else text.trunk
        read_depth = (text,) * len(self.depth_blocks) if isinstance(text, Tensor) else text.depth

        for i, block in enumerate(self.blocks):
            if depth and i == first_depth:
                depth_tokens = tokens[:, of_video]
            tokens, memory = self._run(i, block, tokens, modulation, time_index, rope, read_trunk[i])
            if depth and (j := i - first_depth) >= 0:
                depth_tokens, _ = self._run(
                    i,
                    self.depth_blocks[j],
                    depth_tokens,
                    modulation,
                    time_index[:, of_video],
                    depth_rope,
                    read_depth[j],
                    memory,
                )

        video, actions, states = tokens.split(layout.split, dim=1)
        to_latents = partial(unpatchify, layout=layout, patch=self.sizes.patch)
        velocity = Latents(
            video=to_latents(self.video_head(video, embedding, time_index[:, of_video])),
            actions=self.action_out(actions),
            states=self.state_out(states),
        )
        if not depth:
            return Prediction(velocity)
        return Prediction(
            velocity, to_latents(self.depth_head(depth_tokens, embedding, time_index[:, of_video]))
        )

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

    def _run(
        self, index: int, block: nn.Module, tokens: Tensor, *args: Tensor | KeyValue
    ) -> tuple[Tensor, KeyValue]:
        if self.checkpoint_every and index % self.checkpoint_every == 0 and torch.is_grad_enabled():
            return checkpoint(block, tokens, *args, use_reentrant=False)
        return block(tokens, *args)


def stack(blocks: nn.ModuleList) -> list[Block]:
    return cast(list[Block], list(blocks))


def token_times(times: Times, layout: TokenLayout) -> Tensor:
    """Which of the distinct times each token carries. -> 1|B L"""
    per_view = times.video.expand(-1, -1, layout.views)  # a per-frame index may leave the view axis at 1
    of_video = per_view[..., None].expand(-1, -1, -1, layout.patches).flatten(1)
    batch = max(part.shape[0] for part in (of_video, times.actions, times.states))
    return torch.cat([part.expand(batch, -1) for part in (of_video, times.actions, times.states)], dim=1)


def unpatchify(patches: Tensor, layout: TokenLayout, patch: int) -> Tensor:
    """B (T V rows columns) (p_h p_w C), C fastest -> B C T V H W"""
    grid = (layout.frames, layout.views, layout.rows, layout.columns)
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
