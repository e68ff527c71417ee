"""Two processes on a CPU train like one with the doubled batch."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
import torch
from commands import BIN, policy_options, run, train_here, train_options
from toys import THREE_CAMERAS

from lerobot_xwam.modeling_xwam import XWAMPolicy

TESTS = Path(__file__).parent
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    """lerobot-train under `accelerate launch`, DDP over gloo: noise, masks and data order are global.

    Clean-action samples, which earn no action loss, fall unevenly on the two processes: the loss is only the
    same if the masks are normalised over both.
    """
    fast = policy_options(optimizer_lr=1e-2, scheduler_warmup_steps=0)
    common = ["--steps=4", "--save_checkpoint=false"]
    alone = train_here(
        *train_options(THREE_CAMERAS, tmp_path / "one", "--batch_size=4", *common, policy=fast)
    )
    run(
        BIN / "accelerate",
        "launch",
        "--multi_gpu",  # several processes; lerobot-train itself chooses the CPU and gloo
        "--num_processes=2",
        "--num_machines=1",
        f"--main_process_port={free_port()}",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        TESTS / "commands.py",
        tmp_path / "losses",
        *train_options(THREE_CAMERAS, tmp_path / "two", "--batch_size=2", *common, policy=fast),
        **LOOPBACK,
    )
    ranks = [json.loads((tmp_path / f"losses.{rank}").read_text()) for rank in (0, 1)]
    together = [sum(pair) / 2 for pair in zip(*ranks, strict=True)]
    assert len(alone) == 4
    assert together == pytest.approx(alone, rel=1e-5)
    assert any(abs(a - b) > 1e-2 for a, b in zip(*ranks, strict=True))  # they did have different samples


@pytest.mark.slow
def test_sharded_training_is_the_same_training(tmp_path: Path) -> None:
    """FSDP1 and FSDP2 over the blocks, as the policy declares them, with checkpointing and depth.

    With torch's own FSDP: Accelerate refuses its FSDP plugin on machines without an accelerator.
    """
    run(
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        TESTS / "sharded_training.py",
        tmp_path,
        **LOOPBACK,
    )
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert losses["ddp"][0] != losses["ddp"][-1]
    assert losses["fsdp1"] == pytest.approx(losses["ddp"], rel=1e-5)
    assert losses["fsdp2"] == pytest.approx(losses["ddp"], rel=1e-5)
    gathered, plain = (XWAMPolicy.from_pretrained(tmp_path / name) for name in ("gathered", "plain"))
    torch.testing.assert_close(gathered.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-4)
