"""What `plan` estimates is what the allocator sees; what it recommends can be run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import draccus
import pytest
import torch
from lerobot.configs.default import PeftConfig
from lerobot.configs.train import TrainPipelineConfig
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from toys import packed_batch, small_config

from lerobot_xwam import XWAMConfig
from lerobot_xwam.cli.main import main
from lerobot_xwam.data.batch import DEPTH, VIDEO
from lerobot_xwam.fast_dtype import has_bfloat16
from lerobot_xwam.imagination import film
from lerobot_xwam.model.fusion import given_of
from lerobot_xwam.model.noise import clock_times
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.planning.codecs import codec_memory
from lerobot_xwam.planning.live_bytes import LiveBytes
from lerobot_xwam.planning.network import (
    Load,
    _inputs,
    acting_memory,
    bytes_of_8bit_moments,
    sharded_memory,
    training_memory,
    with_8bit_moments,
)
from lerobot_xwam.planning.tiers import RANK, Parts, Tier, inference_tiers, training_tiers
from lerobot_xwam.training.encoding import Encoded, encode_centered

ROOT = Path(__file__).parent.parent
BATCH, CAMERAS = 4, ("front", "left")
LOAD = Load(BATCH, len(CAMERAS))


def config(**settings: Any) -> XWAMConfig:
    """Large enough for activations to stand out, small enough for a second."""
    sizes = {"dim": 128, "ffn_dim": 512, "blocks": 3, "depth_blocks": 1, "height": 64, "width": 96}
    return small_config(CAMERAS, depth_of=CAMERAS, max_views=2, **{**sizes, **settings})


@dataclass
class Allocated:
    peak: int = 0


@contextmanager
def allocations() -> Iterator[Allocated]:
    """Bytes of PyTorch's CPU allocator above those at the start: its own records, none of our counting."""
    seen = Allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield seen
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        seen.peak = max(seen.peak, now)


def measured_training(policy: Any, batch: dict[str, Any]) -> tuple[int, int]:
    """-> (peak of forward and backward, peak of the step), weights and moments included."""
    parameters = policy.get_optim_params()
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    policy.train()
    weights = sum(p.nbytes for p in policy.parameters())

    def forward_backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        policy(batch)[0].backward()

    forward_backward()
    optimizer.step()
    moments = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
    optimizer.zero_grad(set_to_none=True)
    with allocations() as passing:
        forward_backward()
    gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)
    with allocations() as stepping:
        optimizer.step()
    return weights + moments + passing.peak, weights + moments + gradients + stepping.peak


@pytest.mark.parametrize(
    ("dtype", "every", "rank"),
    [("float32", 0, 0), ("bfloat16", 1, 0), ("bfloat16", 0, 8), ("bfloat16", 1, 8)],
)
def test_training_needs_what_was_estimated(
    monkeypatch: pytest.MonkeyPatch, dtype: str, every: int, rank: int
) -> None:
    """All weights and adapters, with and without recomputing."""
    half = {"weights_dtype": "bfloat16"} if rank and dtype == "bfloat16" else {}
    cfg = config(dtype=dtype, checkpoint_every=every, **half)
    policy: Any = XWAMPolicy(cfg)
    if half:
        policy.bfloat16()
    if rank:
        policy.config.pretrained_path = "somewhere"
        policy = policy.wrap_with_peft(peft_cli_overrides=vars(PeftConfig(r=rank)))
    latents = torch.randn(BATCH, cfg.latent_channels, cfg.latent_frames, len(CAMERAS), 8, 12)
    encoded = Encoded(latents, latents, None)
    monkeypatch.setattr(XWAMPolicy, "_encoded", lambda *_: encoded)  # the network alone
    passing, stepping = measured_training(policy, packed_batch(cfg, BATCH))

    said = training_memory(cfg, LOAD, adapter_rank=rank)
    assert said.weights == sum(p.nbytes for p in policy.parameters())
    assert said.trained == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    print(dtype, every, rank, said.passing / passing, said.stepping / stepping)
    assert said.passing == pytest.approx(passing, rel=0.1)
    assert said.stepping == pytest.approx(stepping, rel=0.1)


def whole(**settings: Any) -> XWAMConfig:
    return config(dim=256, ffn_dim=1024, blocks=4, checkpoint_every=1, **settings)


@pytest.fixture(scope="module")
def rows() -> dict[str, Tier]:
    found = [t for t in training_tiers(whole(), LOAD) if not t.cached]
    return {t.how: t for t in found if "checkpoint_every=1" in t.settings}


@pytest.mark.parametrize(
    "how",
    [pytest.param("full", marks=pytest.mark.slow), pytest.param("8bit", marks=pytest.mark.slow), "lora"],
)
def test_a_whole_step_needs_what_its_row_says(how: str, rows: dict[str, Tier]) -> None:
    """Encoders, network, loss and optimiser together, against the row that the user reads."""
    cfg = whole(optimizer_8bit=how == "8bit")
    policy: Any = XWAMPolicy(cfg)
    codecs, cpu = policy.codecs, torch.device("cpu")
    if how == "lora":
        policy.config.pretrained_path = "somewhere"
        policy = policy.wrap_with_peft(peft_cli_overrides=vars(PeftConfig(r=RANK)))
    optimizer = cfg.get_optimizer_preset().build(policy.get_optim_params())
    batch = packed_batch(cfg, BATCH)
    frozen = [*codecs.video(cpu).vae.parameters(), *codecs.text(cpu).encoder.parameters()]
    held = sum(p.nbytes for p in [*policy.parameters(), *frozen])
    frames = batch[VIDEO].nbytes + batch[DEPTH].nbytes
    assert frames == codec_memory(cfg, LOAD).frames
    held += sum(value.nbytes for value in batch.values() if torch.is_tensor(value))

    def step() -> None:
        policy(batch)[0].backward()
        optimizer.step()

    policy.train()
    step()
    optimizer.zero_grad(set_to_none=True)
    moments = sum(t.nbytes for state in optimizer.state.values() for t in _plain(state.values()))
    with allocations() as seen:
        step()
    parts = rows[how].parts
    if how == "8bit":
        assert bytes_of_8bit_moments(cfg) == pytest.approx(moments, rel=0.001)
        parts = _stepping_uncompiled(cfg, parts)
    print(how, parts, parts.total / (held + moments + seen.peak))
    assert parts.total == pytest.approx(held + moments + seen.peak, rel=0.1)


def _stepping_uncompiled(cfg: XWAMConfig, parts: Parts) -> Parts:
    """On a CPU the step of torchao's optimiser is not compiled."""
    memory = training_memory(cfg, LOAD)
    uncompiled, compiled = (
        with_8bit_moments(memory, parts.optimizer, copies).stepping for copies in (13.25, 2)
    )
    assert compiled < uncompiled
    states = parts.weights + parts.gradients + parts.optimizer
    return replace(parts, activations=max(parts.activations, uncompiled - states))


def _plain(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors inside of torchao's quantised ones."""
    for value in values:
        if hasattr(value, "codes"):
            yield from (value.codes, value.scale, value.qmap)
        elif torch.is_tensor(value):
            yield value


@pytest.mark.parametrize(("dtype", "depth"), [("float32", True), ("bfloat16", False)])
def test_acting_needs_what_was_estimated(dtype: str, depth: bool) -> None:
    cfg = config(dtype=dtype, depth_blocks=2 if depth else 0)
    kept = getattr(torch, dtype)
    net = XWAMPolicy(cfg).to(kept).net
    with FakeTensorMode(allow_non_fake_inputs=True):
        shapes = _inputs(cfg, LOAD)
    latents = shapes[0].map(lambda fake: torch.randn(fake.shape))
    clock = torch.full((BATCH,), 500.0)
    text = torch.randn(BATCH, cfg.text_tokens, cfg.text_dim)
    times = clock_times(clock, clock, given_of(latents, cfg.depth))

    def act() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            net(latents, times, net.read_text(text, depth=depth), depth=depth)

    act()
    with allocations() as seen:
        act()
    said = acting_memory(cfg, LOAD, kept, depth=depth)
    assert said.weights == sum(p.nbytes for p in net.parameters())
    held = sum(t.nbytes for t in (latents.video, latents.actions, latents.states, text))
    print(dtype, depth, (said.peak - said.weights) / (seen.peak + held))
    assert said.peak - said.weights == pytest.approx(seen.peak + held, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_encoders_need_what_was_estimated(dtype: str) -> None:
    """On a CPU, whose convolutions copy what they are given and what they make."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("convolutions of this CPU are not oneDNN's")
    cfg = config(dtype=dtype, crop_ratio=0.9)
    codecs, cpu = XWAMPolicy(cfg).codecs, torch.device("cpu")
    video, text = codecs.video(cpu), codecs.text(cpu)
    said = codec_memory(cfg, LOAD)
    assert said.video == sum(p.nbytes for p in video.vae.parameters())
    assert said.text == sum(p.nbytes for p in text.encoder.parameters())

    def frames(count: int, channels: int) -> torch.Tensor:
        return torch.rand(BATCH, len(CAMERAS), count, channels, cfg.height, cfg.width)

    def encode(count: int, depth: bool) -> Any:
        code = frames(count, 2) if depth else None
        return encode_centered(video, frames(count, 3), code, cfg.crop_ratio)

    def show() -> Any:
        cells = (cfg.height // cfg.vae_stride, cfg.width // cfg.vae_stride)
        stacked = torch.randn(1, cfg.latent_channels, cfg.latent_frames, 2 * len(CAMERAS), *cells)
        return film(stacked, video, cfg.latent_frames, len(CAMERAS))

    calls = {
        "encode_frame": lambda: encode(1, depth=False),
        "encode_clip": lambda: encode(cfg.num_frames, depth=True),
        "encode_text": lambda: text._encode("lift the cube"),
    }
    if dtype == "bfloat16":  # in float32 a CPU unfolds one sample into columns, as no GPU does
        calls["film"] = show
    for name, call in calls.items():
        with torch.no_grad():
            call()
            with allocations() as seen:
                call()
        estimated = getattr(said, name)
        print(dtype, name, estimated / seen.peak)
        if dtype == "bfloat16" and not has_bfloat16("cpu"):  # emulated, which only takes more
            assert seen.peak > 0.99 * estimated, name
        else:
            assert estimated == pytest.approx(seen.peak, rel=0.1), name


def test_a_large_batch_goes_through_the_encoder_in_parts() -> None:
    """So that it costs its frames, not its activations."""
    few, many = (codec_memory(config(), Load(batch, 1)).encode_clip for batch in (8, 32))
    assert many < 2 * few


def test_more_gpus_mean_less_on_each_but_never_less_than_what_is_gathered() -> None:
    cfg = config(checkpoint_every=1, blocks=1)
    sharded = [sharded_memory(cfg, LOAD, gpus) for gpus in (1, 2, 8, 10**6)]
    assert [each.peak for each in sharded] == sorted((each.peak for each in sharded), reverse=True)
    assert len({each.gathered for each in sharded}) == 1
    assert sharded[-1].peak == pytest.approx(sharded[-1].passing + sharded[-1].gathered, rel=1e-3)


def test_nothing_of_the_estimate_stays_behind() -> None:
    """A table that the estimate left in a cache would be one without numbers."""
    cfg = config(blocks=1)
    policy, batch = XWAMPolicy(cfg), packed_batch(cfg)
    acting_memory(cfg, LOAD, torch.float32, depth=True)
    assert torch.isfinite(policy(batch)[0]).all()


def test_the_count_is_right_where_it_can_be_counted_by_hand() -> None:
    live = LiveBytes()
    with live:
        a = torch.zeros(1000)  # 4000
        b = a.view(10, 100)  # the same
        c = b.double()  # 8000
        assert live.now == 12_000
        del c
        d = torch.zeros(500)
        assert (live.now, live.peak) == (6_000, 12_000)
        del a, d
        assert live.now == 4_000  # the view keeps it
        del b
    assert (live.now, live.peak) == (0, 12_000)


# --- the command ---


def tier(how: str, total_gb: float, cached: bool = False, **settings: Any) -> Tier:
    use = "training" if how else "inference"
    chosen = tuple(f"{name}={value}" for name, value in settings.items())
    return Tier(
        f"{how or 'acting'} {total_gb}", use, how, chosen, cached, Parts(round(total_gb * 1e9), 0, 0, 0, 0)
    )


@pytest.fixture
def tiers(monkeypatch: pytest.MonkeyPatch) -> list[Tier]:
    found = [
        tier("", 20, weights_dtype="bfloat16"),
        tier("", 9, cached=True, weights_dtype="bfloat16", depth="none"),
        tier("full", 130, checkpoint_every=0),
        tier("fsdp", 60, cached=True, checkpoint_every=1),
        tier("8bit", 50, optimizer_8bit="true", checkpoint_every=1),
        tier("lora", 16, weights_dtype="float32", checkpoint_every=1),
    ]
    monkeypatch.setattr("lerobot_xwam.planning.tiers.inference_tiers", lambda *_: found[:2])
    monkeypatch.setattr("lerobot_xwam.planning.tiers.training_tiers", lambda *_: found[2:])
    return found


def plan(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["plan", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_that_fits_is_chosen(tiers: list[Tier], capsys: pytest.CaptureFixture[str]) -> None:
    def best(memory: float, *more: object) -> list[str | None]:
        said = plan(capsys, "--gpu-memory", memory, *more)["best"]
        return [said[use]["name"] if use in said else None for use in ("inference", "training")]

    assert best(140) == ["acting 20", "full 130"]
    assert best(80) == ["acting 20", "fsdp 60"]
    assert best(52) == ["acting 20", "8bit 50"]
    assert best(51) == ["acting 20", "lora 16"]  # 1.5 GB are kept free
    assert best(51, "--reserve", 0.5) == ["acting 20", "8bit 50"]
    assert best(12) == ["acting 9", None]
    assert best(5) == [None, None]


@pytest.mark.slow
def test_every_training_command_is_one_that_lerobot_reads(
    tiers: list[Tier], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {140: "full", 80: "fsdp", 52: "8bit", 20: "lora"}
    for memory, how in wanted.items():
        said = plan(capsys, "--preset", "tiny", "--gpu-memory", memory, "--gpus", 8, "--batch", 3)
        *before, last = said["best"]["training"]["commands"]
        assert bool(before) == (how == "fsdp")
        assert last.startswith("accelerate launch")
        assert ("--config_file configs/accelerate_8gpu_fsdp.yaml" in last) == (how == "fsdp")
        words = shlex.split(last.split("$(which lerobot-train)")[1])
        config = draccus.parse(TrainPipelineConfig, args=words)
        assert isinstance(config.policy, XWAMConfig)
        assert (config.policy.preset, config.batch_size) == ("tiny", 3)
        assert config.policy.optimizer_8bit == (how == "8bit")
        assert config.policy.checkpoint_every == (0 if how == "full" else 1)
        assert config.policy.weights_dtype == ("float32" if how == "lora" else "")
        assert (config.peft is not None and config.peft.r == 32) == (how == "lora")
        assert bool(config.policy.text_cache and config.policy.latent_cache) == (how == "fsdp")
    assert (ROOT / "configs/accelerate_8gpu_fsdp.yaml").is_file()


def test_inference_commands_name_the_checkpoint(
    tiers: list[Tier], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    XWAMPolicy(config()).save_pretrained(tmp_path)
    said = plan(capsys, "--policy", tmp_path, "--gpu-memory", 12, "--for", "inference")
    assert said["views"] == 2
    first, last = said["best"]["inference"]["commands"]
    assert (
        first == "lerobot-xwam cache-text --codecs tiny --dataset YOUR_NAME/DATASET --out prompts.safetensors"
    )
    assert last.startswith(f"lerobot-eval --policy.path={tmp_path} --policy.weights_dtype=bfloat16 ")
    assert "--policy.depth=none --policy.text_cache=prompts.safetensors" in last


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    XWAMPolicy(config(blocks=1)).save_pretrained(tmp_path)
    small = ["--policy", str(tmp_path), "--views", "1", "--resolution", "32", "32"]
    assert main(["plan", "--gpu-memory", "2", "--for", "inference", *small]) == 0
    out = capsys.readouterr().out
    assert "1 views of 32x32, batch 1; 1 GPU(s) of 2 GB" in out
    assert out.count("\n+ inference") == 4
    assert "inference: inference, with depth, text encoder resident\n  lerobot-eval" in out


def test_tiers_are_ordered_as_they_should_be() -> None:
    cfg = config(dim=64, ffn_dim=128, blocks=1)
    acting = {t.name: t.parts for t in inference_tiers(cfg, LOAD)}
    assert len(acting) == 4
    totals = [parts.total for parts in acting.values()]
    assert totals[0] > totals[1] > totals[3] and totals[0] > totals[2] > totals[3]
    training = list(training_tiers(cfg, LOAD, gpus=4))
    assert list(dict.fromkeys(t.how for t in training)) == ["full", "fsdp", "8bit", "lora"]
    for kept, cached in zip(training[::2], training[1::2], strict=True):
        assert (kept.cached, cached.cached) == (False, True)
        assert kept.parts.total > cached.parts.total
        assert cached.parts.codecs == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--gpu-memory 24"),
        (["--gpu-memory", "0"], "must be above 0"),
        (["--gpu-memory", "24", "--resolution", "100", "320"], "height=100 is no multiple of 32"),
        (["--gpu-memory", "24", "--preset", "huge"], "preset 'huge' is unknown"),
    ],
)
def test_bad_questions_are_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["plan", *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.gpu
def test_a_gpu_needs_what_was_estimated() -> None:
    cfg = config(dim=512, ffn_dim=2048, heads=8, dtype="bfloat16", device="cuda")
    policy = XWAMPolicy(cfg).cuda()
    batch = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in packed_batch(cfg, BATCH).items()}
    policy.codecs.video(torch.device("cuda")), policy.codecs.text(torch.device("cuda"))
    encoders = torch.cuda.memory_allocated() - sum(p.nbytes for p in policy.parameters())
    optimizer = torch.optim.AdamW(policy.get_optim_params())
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        optimizer.zero_grad(set_to_none=True)
        policy.train()(batch)[0].backward()
        optimizer.step()
    measured = torch.cuda.max_memory_allocated() - encoders
    assert training_memory(cfg, LOAD).peak == pytest.approx(measured, rel=0.1)
