"""Weights go from the file to their place once: no second copy, no unwanted byte, no silent change."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import load_file
from torch import nn
from toys import packed_batch, small_config, wake_up

from lerobot_xwam import XWAMConfig
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.weights.loading import load_exactly
from lerobot_xwam.weights.stored import PIECE, Stored

MB = 10**6
DEPTH = {"depth_of": ("front",)}

# Large enough for its weights to stand out of an interpreter with all its libraries.
MIDDLE: dict[str, Any] = {
    "dim": 1024,
    "ffn_dim": 4096,
    "heads": 8,
    "time_dim": 256,
    "dtype": "bfloat16",
}

LOAD_AND_MEASURE = """
import json, sys
from lerobot.configs import PreTrainedConfig
import lerobot_xwam
from lerobot_xwam.modeling_xwam import XWAMPolicy

def number(path, key):
    return next(int(line.split()[1]) for line in open(path) if line.startswith(key))

folder, *variants = sys.argv[1:]
for settings in map(json.loads, variants):
    config = PreTrainedConfig.from_pretrained(folder)
    for name, value in settings.items():
        setattr(config, name, value)
    XWAMPolicy(config, empty=True)  # whatever is imported late is imported now
    before, read = number("/proc/self/status", "VmRSS") * 1024, number("/proc/self/io", "rchar")
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
    policy = XWAMPolicy.from_pretrained(folder, config=config)
    print(json.dumps({
        "peak": number("/proc/self/status", "VmHWM") * 1024 - before,
        "read": number("/proc/self/io", "rchar") - read,
        "weights": sum(p.nbytes for p in policy.parameters()),
    }))
    del policy
"""


def write_checkpoint(folder: Path, config: XWAMConfig, dtype: torch.dtype) -> int:
    """A checkpoint of noise, written without ever being in memory. -> bytes of its weights"""
    folder.mkdir()
    config.save_pretrained(folder)
    noise = (torch.randn(2**19) * 0.02).to(dtype).view(torch.uint8).numpy().tobytes()
    kind = {torch.bfloat16: "BF16", torch.float32: "F32"}[dtype]
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in XWAMPolicy(config, empty=True).state_dict().items():
        nbytes = prod(tensor.shape) * dtype.itemsize
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + nbytes]}
        end += nbytes
    table = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(table).to_bytes(8, "little") + table)
        for entry in header.values():
            begin, stop = entry["data_offsets"]
            whole, rest = divmod(stop - begin, len(noise))
            for _ in range(whole):
                file.write(noise)
            file.write(noise[:rest])
    return end


def measure(folder: Path, *variants: dict[str, Any]) -> list[dict[str, int]]:
    """Load a checkpoint in a process of its own, once with each set of settings."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_MEASURE, folder, *map(json.dumps, variants)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_loading_costs_the_weights_and_little_more(tmp_path: Path, dtype: torch.dtype) -> None:
    """Neither a second copy, nor the wider weights of the file, nor a branch that is not wanted."""
    blocks = (
        {"blocks": 12, "depth_blocks": 3} if dtype == torch.bfloat16 else {"blocks": 6, "depth_blocks": 2}
    )
    config = small_config(**DEPTH, **MIDDLE, **blocks)
    nbytes = write_checkpoint(tmp_path / "xwam", config, dtype)
    assert nbytes > 500 * MB
    whole, trunk = measure(tmp_path / "xwam", {"weights_dtype": "bfloat16"}, {"depth": "none"})
    assert whole["weights"] == nbytes // (dtype.itemsize // 2)
    assert whole["peak"] < whole["weights"] + 150 * MB
    assert trunk["weights"] < 0.85 * nbytes
    assert trunk["peak"] < trunk["weights"] + 150 * MB
    assert whole["read"] - trunk["read"] == pytest.approx(nbytes - trunk["weights"], abs=MB)


def saved(folder: Path, **settings: Any) -> XWAMPolicy:
    policy = wake_up(XWAMPolicy(small_config(**DEPTH, **settings)).eval())
    policy.save_pretrained(folder)
    return policy


def test_a_checkpoint_with_depth_acts_the_same_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = saved(tmp_path)
    with caplog.at_level(logging.INFO):
        trunk = XWAMPolicy.from_pretrained(tmp_path, config=replace(whole.config, depth="none"))
    said = [record.message for record in caplog.records if "stay unread" in record.message]
    assert len(said) == 1
    assert not [name for name in trunk.state_dict() if "depth" in name]
    assert trunk.config.depth_features and not trunk.config.plan.depth

    batch = packed_batch(whole.config)
    torch.manual_seed(1)
    wanted = whole.predict_action_chunk(batch)
    torch.manual_seed(1)
    assert torch.equal(trunk.predict_action_chunk(batch), wanted)
    pre, _ = make_pre_post_processors(trunk.config)
    assert pre is not None


def test_base_weights_leave_their_depth_branch_behind_too(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    trunk = XWAMPolicy(replace(whole.config, depth="none", base_weights=str(tmp_path)))
    state = whole.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trunk.state_dict().items())
    loss, logs = trunk(packed_batch(whole.config))
    assert torch.isfinite(loss) and "loss_depth" not in logs


def test_depth_is_only_left_behind_when_told_so(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    with pytest.raises(ValueError, match=r"unexpected: net\.depth_blocks"):
        XWAMPolicy.from_pretrained(tmp_path, config=replace(whole.config, depth="sequence", max_views=4))
    trunk = tmp_path / "trunk"
    XWAMPolicy(replace(whole.config, depth="none")).save_pretrained(trunk)
    with pytest.raises(ValueError, match=r"missing: net\.depth_blocks"):
        XWAMPolicy.from_pretrained(trunk, config=whole.config)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weights_dtype", ["", "bfloat16", "float32"])
def test_weights_arrive_in_the_dtype_that_was_asked_for(
    tmp_path: Path, stored: torch.dtype, weights_dtype: str
) -> None:
    policy = XWAMPolicy(small_config(dtype="bfloat16", **DEPTH)).to(stored)
    policy.save_pretrained(tmp_path)
    config = replace(policy.config, weights_dtype=weights_dtype)
    loaded = XWAMPolicy.from_pretrained(tmp_path, config=config)
    wanted = getattr(torch, weights_dtype) if weights_dtype else stored
    file = load_file(tmp_path / "model.safetensors")
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == wanted
        assert torch.equal(tensor, file[name].to(wanted))


def test_half_weights_still_compute_times_heads_and_actions_in_float32(tmp_path: Path) -> None:
    """Only the weights are rounded: the same rounded weights kept in float32 give nearly the same actions."""
    policy = wake_up(XWAMPolicy(small_config(dtype="bfloat16", **DEPTH)).eval())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(parameter.bfloat16())
    policy.save_pretrained(tmp_path)
    half = XWAMPolicy.from_pretrained(tmp_path, config=replace(policy.config, weights_dtype="bfloat16"))
    batch = packed_batch(policy.config)
    torch.manual_seed(1)
    wanted = policy.predict_action_chunk(batch)
    torch.manual_seed(1)
    got = half.predict_action_chunk(batch)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_what_is_trained_is_float32_however_it_was_stored(tmp_path: Path) -> None:
    XWAMPolicy(small_config(dtype="bfloat16")).bfloat16().save_pretrained(tmp_path)
    policy = XWAMPolicy.from_pretrained(tmp_path)
    assert {p.dtype for p in policy.parameters()} == {torch.bfloat16}
    stored = {name: tensor.float() for name, tensor in policy.state_dict().items()}
    parameters = policy.get_optim_params()
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    assert {id(p) for p in parameters} <= {id(p) for p in policy.parameters()}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in policy.state_dict().items())


def test_half_weights_are_refused_for_full_training_and_kept_under_an_adapter(tmp_path: Path) -> None:
    from lerobot.configs.default import PeftConfig

    XWAMPolicy(small_config(dtype="bfloat16")).save_pretrained(tmp_path)
    config = XWAMConfig.from_pretrained(tmp_path)
    config.weights_dtype = "bfloat16"
    config.pretrained_path = tmp_path
    policy = XWAMPolicy.from_pretrained(tmp_path, config=config)
    with pytest.raises(ValueError, match="weights_dtype='bfloat16'"):
        policy.get_optim_params()

    adapted = policy.wrap_with_peft(peft_cli_overrides=vars(PeftConfig(r=4)))
    assert {p.dtype for p in adapted.get_optim_params()} == {torch.float32}
    frozen = {p.dtype for name, p in adapted.named_parameters() if not p.requires_grad and ".blocks." in name}
    assert frozen == {torch.bfloat16}
    adapted.train()
    loss, _ = adapted(packed_batch(config))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in adapted.get_optim_params() if p.grad is not None)


def test_half_weights_need_half_products() -> None:
    with pytest.raises(ValueError, match="set dtype='bfloat16'"):
        small_config(dtype="float32", weights_dtype="bfloat16")


def test_pieces_make_up_the_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a tensor is many pieces, the last of them short."""
    monkeypatch.setattr("lerobot_xwam.weights.stored.PIECE", 64)
    assert PIECE % 64 == 0
    values = torch.randn(7, 13)
    (tmp_path / "raw").write_bytes(b"head" + values.numpy().tobytes())
    stored = Stored(tmp_path / "raw", 4, torch.float32, (7, 13))
    assert torch.equal(stored.on("cpu"), values)
    assert torch.equal(stored.on("cpu", torch.bfloat16), values.bfloat16())
    assert Stored(tmp_path / "raw", 4, torch.float32, (0, 13)).on("cpu").shape == (0, 13)
    assert Stored(tmp_path / "raw", 4, torch.float32, ()).on("cpu") == values[0, 0]


def test_a_weight_takes_its_place_with_its_own_wish_to_learn(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    module[0].bias.requires_grad_(False)
    values = {
        name: torch.ones(tensor.shape, dtype=tensor.dtype) for name, tensor in module.state_dict().items()
    }
    save_file(values, tmp_path / "weights.safetensors")
    assert load_exactly(module, tmp_path / "weights.safetensors") == []
    assert all(torch.equal(tensor, values[name]) for name, tensor in module.state_dict().items())
    assert module[0].weight.requires_grad and not module[0].bias.requires_grad
    assert isinstance(module[0].weight, nn.Parameter)
