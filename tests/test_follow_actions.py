"""scripts/follow_actions.py: opposite motions, imagined and done, by a new model and by the shipped one."""

from __future__ import annotations

import json
from pathlib import Path

import follow_actions
import numpy as np
import pytest
from toys import World, make_toy, wake_up

PLAYED = World(interface="ee", depth=True)
SHIPPED = Path(__file__).parent.parent / "hub_cards/xwam-tiny-play"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, toy = tmp_path_factory.mktemp("toy"), make_toy(PLAYED)
    wake_up(toy.policy).save_pretrained(folder)
    toy.pre.save_pretrained(folder)
    toy.post.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_both_directions_are_done_and_compared(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--policy", str(checkpoint), "--starts", "2", "--device", "cpu", "--out", str(tmp_path)]
    assert follow_actions.main(options) == 0
    pairs = json.loads((tmp_path / "follow.json").read_text())
    assert {pair["axis"] for pair in pairs} == {"x", "y", "z"}
    for pair in pairs:
        one, other = pair["sides"]
        assert np.allclose(one["commanded"], -np.array(other["commanded"]))
        if pair["axis"] != "z":  # the table and the column's end may be in the way
            assert one["simulated along the command"] > 0.05 and other["simulated along the command"] > 0.05
        assert abs(pair["apart: cosine with the simulator's"][-1]) <= 1.0 + 1e-6
    assert (tmp_path / "x.png").is_file()
    printed = capsys.readouterr().out
    assert f" of {len(pairs)} |" in printed and "nan" not in printed


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow_actions.main(["--policy", str(tmp_path / "none"), "--out", str(tmp_path)]) == 1
    assert "follow_actions:" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        follow_actions.main(["--policy", "p", "--out", str(tmp_path), "--starts", "0"])


def test_the_shipped_model_follows_any_action(tmp_path: Path) -> None:
    """Opposite actions, opposite futures: of the hand's place and of the picture, from moments never seen."""
    options = ["--policy", str(SHIPPED), "--starts", "2", "--seed", "3000000", "--device", "cpu"]
    assert follow_actions.main([*options, "--out", str(tmp_path)]) == 0
    pairs = json.loads((tmp_path / "follow.json").read_text())
    assert len(pairs) == 6
    for pair in pairs:
        assert all(side["imagined along the command"] > 0.02 for side in pair["sides"]), pair["axis"]
    assert follow_actions.mean(pairs, follow_actions.COSINE) > 0.95
    assert follow_actions.mean(pairs, follow_actions.PICTURES) > 0.2


def test_the_card_has_the_numbers_of_the_file() -> None:
    pairs = json.loads((SHIPPED / "follow.json").read_text(encoding="utf-8"))
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert follow_actions.table(pairs) in card
