"""Training on the GPUs that people have: passes, averages, adapters on their base, 8-bit moments, configs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import GradientState
from accelerate.utils import FullyShardedDataParallelPlugin, GradientAccumulationPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from commands import checkpoint, policy_options, train_here, train_options
from lerobot.configs import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.optim.optimizers import load_optimizer_state, save_optimizer_state
from lerobot.policies.factory import make_policy
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from toys import ONE_CAMERA, metadata, packed_batch, small_config, wake_up

from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.training.ema import EMA_FILE, Average
from lerobot_xwam.training.optimizers import AdamW8bitConfig
from lerobot_xwam.weights.fingerprint import fingerprint

CONFIGS = Path(__file__).parent.parent / "configs"
RGBD: dict[str, Any] = {"cameras": ["a", "b"], "depth_of": ["a", "b"]}
LORA = ["--peft.method_type=LORA", "--peft.r=4", "--policy.push_to_hub=false"]


# --- a batch in several passes ---


def gradients(policy: XWAMPolicy, micro_batch: int, batch: dict[str, Any]) -> tuple[float, Any, dict]:
    policy.config.micro_batch = micro_batch
    policy.zero_grad()
    np.random.seed(0)
    loss, logs = policy(batch)
    (2 * loss).backward()
    return (
        loss.item(),
        logs,
        {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None},
    )


@pytest.mark.parametrize("settings", [{}, {"checkpoint_every": 1}, {"loss_spectrum": 0.5}])
@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_passes_have_the_gradient_of_the_whole_batch(settings: dict[str, Any], micro_batch: int) -> None:
    """Also where samples do not count alike: some have clean actions, and depth is there or not."""
    config = small_config(**RGBD, **settings)
    policy, batch = wake_up(XWAMPolicy(config)).train(), packed_batch(config, batch=5)
    seen: list[int] = []
    policy.net.register_forward_pre_hook(lambda _, args: seen.append(len(args[0].actions)))
    loss, logs, wanted = gradients(policy, 0, batch)
    loss_in_passes, logs_in_passes, found = gradients(policy, micro_batch, batch)
    assert seen[0] == 5
    assert max(seen[1:]) == micro_batch
    assert loss_in_passes == pytest.approx(loss, rel=1e-6)
    assert logs_in_passes == pytest.approx(logs, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        rounding = 5e-6 * gradient.abs().max().item()  # of sums in another order
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=rounding)


@pytest.mark.slow
def test_passes_in_training_are_the_same_training(tmp_path: Path) -> None:
    fast = {"optimizer_lr": 1e-2, "scheduler_warmup_steps": 0}
    once, passes = (
        train_here(
            *train_options(
                ONE_CAMERA,
                tmp_path / str(n),
                "--steps=4",
                "--batch_size=4",
                "--save_checkpoint=false",
                policy=policy_options(**fast, micro_batch=n),
            )
        )
        for n in (0, 1)
    )
    assert passes == pytest.approx(once, rel=1e-5)
    assert once[0] != pytest.approx(once[-1], rel=1e-2)


def test_gradients_are_handed_over_without_a_copy() -> None:
    config = small_config(micro_batch=1)
    policy, batch = wake_up(XWAMPolicy(config)).train(), packed_batch(config, batch=2)
    loss, _ = policy(batch)
    made = {tensor.data_ptr() for tensor in loss.grad_fn.gradients}
    loss.backward()
    assert {p.grad.data_ptr() for p in policy.parameters() if p.grad is not None} == made
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_passes_leave_validation_and_real_parameters_alone() -> None:
    config = small_config()
    policy, batch = wake_up(XWAMPolicy(config)).eval(), packed_batch(config, batch=3)
    before = [id(parameter) for parameter in policy.parameters()]
    with torch.no_grad():
        whole, _ = policy(batch)
        policy.config.micro_batch = 2
        parts, _ = policy(batch)
    torch.testing.assert_close(parts, whole)
    policy.train()(batch)[0].backward()
    assert [id(parameter) for parameter in policy.parameters()] == before
    with pytest.raises(ValueError, match=r"micro_batch=2.*sample_weighting"):
        policy(batch, reduction="none")


def test_accelerates_own_accumulation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    try:
        with pytest.raises(ValueError, match=r"gradient_accumulation_steps=4.*--policy\.micro_batch"):
            train_here(*train_options(ONE_CAMERA, tmp_path / "run", "--steps=1", "--batch_size=2"))
    finally:
        GradientState._reset_state()
        GradientState(GradientAccumulationPlugin(num_steps=1))


# --- the running average ---


def test_the_average_is_that_of_the_weights() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    average, wanted = Average(layer, decay=0.5), layer.weight.item()
    for step, value in enumerate([3.0, -1.0, 2.0, 8.0, 5.0, 1.0, 0.0, 4.0, 2.0]):
        layer.weight.data.fill_(value)
        average.update(layer)
        d = min(0.5, (1 + step) / (10 + step))
        wanted = d * wanted + (1 - d) * value
    assert average.weights["weight"].item() == pytest.approx(wanted)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("ema") / "run"
    fast = policy_options(optimizer_lr=1e-2, scheduler_warmup_steps=0, ema_decay=0.9)
    train_here(*train_options(ONE_CAMERA, output, "--steps=3", "--batch_size=2", policy=fast))
    return checkpoint(output, 3)


def load(folder: Path, *options: str) -> Any:
    config = PreTrainedConfig.from_pretrained(folder, cli_overrides=list(options))
    config.pretrained_path = folder
    return make_policy(config, ds_meta=metadata(ONE_CAMERA))


def test_a_checkpoint_keeps_raw_and_averaged_weights(averaged: Path) -> None:
    raw, average = load_file(averaged / "model.safetensors"), load_file(averaged / EMA_FILE)
    assert raw.keys() == average.keys()
    assert any(not raw[name].equal(average[name]) for name in raw)
    for option, file in (("false", raw), ("true", average)):
        policy = load(averaged, f"--use_ema={option}")
        torch.testing.assert_close(dict(policy.state_dict()), file, rtol=0, atol=0)
        assert not policy.config.use_ema  # what it saves is its model.safetensors


def test_an_average_that_is_not_there(tmp_path: Path, averaged: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((averaged / name).read_bytes())
    with pytest.raises(FileNotFoundError, match=r"ema\.safetensors.*ema_decay"):
        load(tmp_path, "--use_ema=true")


def test_no_average_of_shards_and_no_sharded_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="ema_decay with FSDP"):
        XWAMPolicy(small_config(ema_decay=0.9)).get_optim_params()
    with pytest.raises(ValueError, match=r"--peft with FSDP.*--multi_gpu"):
        XWAMPolicy(small_config(use_peft=True)).get_optim_params()


def test_the_average_of_an_adapter(averaged: Path, tmp_path: Path) -> None:
    """Beside the adapter, by the same names; the base has no part in it."""
    output = tmp_path / "lora"
    start = [f"--policy.path={averaged}", "--policy.optimizer_lr=1e-2"]  # with the average's decay, 0.9
    options = train_options(ONE_CAMERA, output, "--steps=3", "--batch_size=2", policy=start)
    train_here(*options, *LORA)
    adapter = checkpoint(output, 3)
    raw, average = (load_file(adapter / name) for name in ("adapter_model.safetensors", EMA_FILE))
    assert raw.keys() == average.keys()
    assert any(not raw[name].equal(average[name]) for name in raw if ".lora_B." in name)
    for option, file in (("false", raw), ("true", average)):
        loaded = load(adapter, f"--use_ema={option}")
        stored = get_peft_model_state_dict(loaded)
        assert stored.keys() == file.keys()
        assert all(stored[name].equal(file[name]) for name in file)
        assert not loaded.config.use_ema
    (adapter / EMA_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"ema\.safetensors.*ema_decay"):
        load(adapter, "--use_ema=true")


# --- an adapter and its base ---


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "large": torch.randn(1100, 1000, generator=generator),
        "small": torch.ones(3),
        "empty": torch.ones(0),
    }


def test_a_fingerprint_is_that_of_the_weights(tmp_path: Path) -> None:
    def named(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> str:
        save_file(tensors, tmp_path / "file", metadata)
        return fingerprint(tmp_path / "file")

    first = named(weights())
    assert re.fullmatch("v1:[0-9a-f]{64}", first)
    assert named(dict(reversed(weights().items())), {"format": "pt"}) == first
    changed = [
        {**weights(), "small": torch.tensor([1.0, 1.0, 1.001])},
        {**weights(), "large": weights()["large"] + 1e-4 * weights(1)["large"]},
        {**weights(), "large": weights()["large"].bfloat16()},
        {**weights(), "large": weights()["large"].reshape(1000, 1100)},
        {**{("other" if k == "small" else k): v for k, v in weights().items()}},
        {k: v for k, v in weights().items() if k != "empty"},
    ]
    for row in (0, -1):
        touched = weights()
        touched["large"][row, row] += 1
        changed.append(touched)
    assert len({first, *map(named, changed)}) == len(changed) + 1


def test_an_adapter_on_another_base_is_refused(averaged: Path, tmp_path: Path) -> None:
    base, output = tmp_path / "base", tmp_path / "lora"
    base.mkdir()
    for file in averaged.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    start = [f"--policy.path={base}", "--policy.ema_decay=0"]
    train_here(*train_options(ONE_CAMERA, output, "--steps=1", "--batch_size=2", policy=start), *LORA)
    adapter = checkpoint(output, 1)
    right = fingerprint(base / "model.safetensors")
    kept = json.loads((adapter / "config.json").read_text())
    assert kept["adapter_base"] == right
    assert kept["adapter_base_name"] == str(base)
    load(adapter)

    (base / "model.safetensors").write_bytes((averaged / EMA_FILE).read_bytes())  # the base was trained on
    wrong = fingerprint(base / "model.safetensors")
    fragments = [
        "wrong base",
        str(base),
        right,
        str(base / "model.safetensors"),
        wrong,
        "adapter_config.json",
    ]
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, fragments))):
        load(adapter)
    resume = [f"--config_path={adapter / 'train_config.json'}", "--resume=true", "--steps=2"]
    with pytest.raises(ValueError, match="wrong base for this adapter"):
        train_here(*resume)

    settings = json.loads((adapter / "adapter_config.json").read_text())  # the remedy that the message names
    settings["base_model_name_or_path"] = str(averaged)
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    load(adapter)


@pytest.mark.slow
def test_an_adapter_on_a_policy_that_was_itself_fine_tuned(averaged: Path, tmp_path: Path) -> None:
    """Base weights -> fine-tuned on the robot -> adapter: the base is the fine-tuned policy."""
    tuned, output = tmp_path / "tuned", tmp_path / "lora"
    start = policy_options(base_weights=averaged)
    train_here(*train_options(ONE_CAMERA, tuned, "--steps=1", "--batch_size=2", policy=start))
    path = [f"--policy.path={checkpoint(tuned, 1)}"]
    train_here(*train_options(ONE_CAMERA, output, "--steps=1", "--batch_size=2", policy=path), *LORA)
    policy = load(checkpoint(output, 1))
    assert policy.config.adapter_base == fingerprint(checkpoint(tuned, 1) / "model.safetensors")


def test_no_adapter_on_averaged_weights_without_a_file_of_their_own(averaged: Path, tmp_path: Path) -> None:
    start = [f"--policy.path={averaged}", "--policy.use_ema=true", "--policy.ema_decay=0"]
    options = train_options(ONE_CAMERA, tmp_path / "run", "--steps=1", "--batch_size=2", policy=start)
    with pytest.raises(ValueError, match=r"use_ema with an adapter.*model\.safetensors"):
        train_here(*options, *LORA)


# --- 8-bit moments ---


def test_moments_in_8_bit_are_saved_as_such(tmp_path: Path) -> None:
    layer = torch.nn.Linear(128, 64)

    def optimizer() -> torch.optim.Optimizer:
        return AdamW8bitConfig(lr=1e-2).build(layer.parameters())

    first, other = optimizer(), optimizer()
    for seed in range(3):
        layer(torch.randn(8, 128, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        first.step()
        first.zero_grad()
    save_optimizer_state(first, tmp_path)
    stored = load_file(tmp_path / "optimizer_state.safetensors")
    assert stored["state/0/exp_avg.codes"].dtype == torch.uint8
    assert stored["state/0/exp_avg_sq.codes"].shape == (64, 128)
    assert stored["state/0/exp_avg.scale"].numel() == 64 * 128 // 256
    assert stored["state/1/exp_avg"].dtype == torch.float32  # a bias is too small to be worth it
    load_optimizer_state(other, tmp_path)
    for name in ("exp_avg", "exp_avg_sq"):
        one, two = (o.state[layer.weight][name].dequantize() for o in (first, other))
        assert one.equal(two)
        assert one.abs().sum() > 0


def test_8_bit_moments_move_the_weights_as_adamw_does() -> None:
    moved = []
    for eight in (False, True):
        torch.manual_seed(0)
        config = small_config(dim=64, ffn_dim=128, optimizer_8bit=eight, optimizer_lr=1e-2)
        policy, batch = wake_up(XWAMPolicy(config)).train(), packed_batch(config)
        start = torch.cat([p.detach().flatten() for p in policy.get_optim_params()])
        optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
        for _ in range(5):
            np.random.seed(0)
            policy(batch)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        moved.append(torch.cat([p.detach().flatten() for p in policy.get_optim_params()]) - start)
    assert torch.cosine_similarity(*moved, dim=0) > 0.95
    assert not moved[0].equal(moved[1])


def test_8_bit_without_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchao", "torchao.optim", "lerobot_xwam.training.adamw_8bit"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"lerobot_policy_xwam\[optim8bit\]"):
        AdamW8bitConfig().build(torch.nn.Linear(2, 2).parameters())


def test_8_bit_with_fsdp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="optimizer_8bit does not go with FSDP"):
        AdamW8bitConfig().build(torch.nn.Linear(2, 2).parameters())


# --- ready configurations ---


def recipe(name: str) -> TrainPipelineConfig:
    return TrainPipelineConfig.from_pretrained(CONFIGS / f"{name}.json", cli_args=["--policy.device=cpu"])


def test_adapter_recipes_are_one_training_with_different_memory() -> None:
    recipes = [recipe(f"lora_{size}gb") for size in (24, 48, 80)]
    assert [r.policy.micro_batch for r in recipes] == [1, 4, 8]
    same = [(r.batch_size, r.steps, r.seed, r.peft, r.policy.optimizer_lr, r.policy.dtype) for r in recipes]
    assert same[0] == same[1] == same[2]
    for r in recipes:
        assert r.batch_size % r.policy.micro_batch == 0
        assert r.policy.weights_dtype == r.policy.dtype == "bfloat16"
        assert r.peft is not None
        assert r.peft.lora_alpha == r.peft.r
    assert recipes[0].policy.text_cache  # the text encoder alone would take half of 24 GB


def test_full_fine_tuning_recipe_has_8_bit_moments() -> None:
    config = recipe("full_80gb")
    assert config.peft is None
    assert isinstance(config.policy.get_optimizer_preset(), AdamW8bitConfig)
    assert config.policy.weights_dtype == ""


@pytest.mark.parametrize(
    ("name", "machines", "processes"), [("1gpu", 1, 1), ("8gpu_fsdp", 1, 8), ("2x8gpu_fsdp", 2, 16)]
)
def test_accelerate_configs(
    name: str, machines: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `accelerate launch` reads them, and as the started processes then see them."""
    path = CONFIGS / f"accelerate_{name}.yaml"
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.mixed_precision == "bf16"
    if "fsdp" not in name:
        return
    parser = launch_command_parser()
    args, *_ = _validate_launch_command(parser.parse_args(["--config_file", str(path), "lerobot-train"]))
    assert args.use_fsdp
    assert args.fsdp_sync_module_states
    known = vars(parser.parse_args(["lerobot-train"]))
    assert set(config.fsdp_config) <= set(known)  # none that is ignored
    for key, value in prepare_multi_gpu_env(args).items():
        if key.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("FSDP_SYNC_MODULE_STATES", "false")  # its check wants a GPU
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 1
    assert plugin.sharding_strategy.name == "FULL_SHARD"
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert plugin.use_orig_params
    assert not plugin.cpu_offload.offload_params
    assert plugin.transformer_cls_names_to_wrap == XWAMPolicy._fsdp_wrap_modules
    plugin.set_auto_wrap_policy(XWAMPolicy(small_config(**RGBD)))
    (block,) = plugin.auto_wrap_policy.keywords["transformer_layer_cls"]
    assert block.__name__ == "Block"


def test_every_recipe_is_described() -> None:
    table = (CONFIGS / "README.md").read_text()
    for path in CONFIGS.glob("accelerate_*.yaml"):
        assert f"`{path.name}`" in table
