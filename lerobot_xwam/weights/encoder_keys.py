"""Names of the frozen encoders' weights: official <-> diffusers' AutoencoderKLWan and HF's UMT5EncoderModel.

A table holds names without their last part (`weight`, `bias`, `gamma`), which both sides share. It may list
layers that a given model lacks (a shortcut where the width does not change); exactness comes from loading the
renamed weights strictly into the real class.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

Table = dict[str, str]

_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {name: name for name in ("norm", "to_qkv", "proj")}
_RESAMPLE = {name: name for name in ("resample.1", "time_conv")}
_TEXT_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{name}": f"layer.0.SelfAttention.{name}" for name in ("q", "k", "v", "o")},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


def vae_table(stages: int = 4, res_blocks: int = 2) -> Table:
    """Official VAE (without `vae.model.` or `model.`) -> AutoencoderKLWan. The defaults are Wan2.2's."""
    table = {"conv1": "quant_conv", "conv2": "post_quant_conv"}
    table |= _half("encoder", "downsamples", "down_blocks", "downsampler", stages, res_blocks)
    # A decoder stage has one residual block more than an encoder stage.
    table |= _half("decoder", "upsamples", "up_blocks", "upsampler", stages, res_blocks + 1)
    return table


def text_encoder_table(layers: int = 24) -> Table:
    """Official umT5 encoder (without `text_encoder.model.` or `model.`) -> UMT5EncoderModel. 24: umt5-xxl."""
    table = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
    for i in range(layers):
        table |= _inside(f"blocks.{i}", f"encoder.block.{i}", _TEXT_BLOCK)
    return table


def inverse(table: Table) -> Table:
    return {theirs: official for official, theirs in table.items()}


def rename(key: str, table: Table) -> str:
    """`key` with all but its last part looked up in the table."""
    stem, _, leaf = key.rpartition(".")
    if stem not in table:
        raise KeyError(f"{key!r} is no weight of this encoder")
    return f"{table[stem]}.{leaf}"


def take(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict below a prefix, without the prefix."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def renamed(state: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """A whole state dict under its other names; unknown ones are reported all at once."""
    unknown = [key for key in state if key.rpartition(".")[0] not in table]
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise ValueError(
            f"{len(unknown)} of {len(state)} weights have names that this encoder does not know: {shown}. "
            "Is the file of another model, or are the numbers of stages, residual blocks or layers others?"
        )
    return {rename(key, table): tensor for key, tensor in state.items()}


def _half(side: str, stack: str, stage: str, sampler: str, stages: int, res_blocks: int) -> Table:
    """Encoder or decoder. In the official stack the re-sampling layer comes behind the residual blocks."""
    table = {
        f"{side}.conv1": f"{side}.conv_in",
        f"{side}.head.0": f"{side}.norm_out",
        f"{side}.head.2": f"{side}.conv_out",
    }
    table |= _inside(f"{side}.middle.0", f"{side}.mid_block.resnets.0", _RESIDUAL)
    table |= _inside(f"{side}.middle.1", f"{side}.mid_block.attentions.0", _ATTENTION)
    table |= _inside(f"{side}.middle.2", f"{side}.mid_block.resnets.1", _RESIDUAL)
    for i in range(stages):
        official, theirs = f"{side}.{stack}.{i}.{stack}", f"{side}.{stage}.{i}"
        for j in range(res_blocks):
            table |= _inside(f"{official}.{j}", f"{theirs}.resnets.{j}", _RESIDUAL)
        table |= _inside(f"{official}.{res_blocks}", f"{theirs}.{sampler}", _RESAMPLE)
    return table


def _inside(official: str, theirs: str, layers: Table) -> Table:
    return {f"{official}.{ours}": f"{theirs}.{name}" for ours, name in layers.items()}
