"""Imports point down only. The table is the architecture; a new room must be written into it first."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lerobot_xwam"

BRICKS = {"model", "codecs", "space", "weights", "data", "benchmarks"}
BRICKS |= {
    "fast_dtype",
    "configuration_xwam",
    "robot_settings",
    "speed_settings",
    "features",
    "presets",
    "files",
}
POLICY = BRICKS | {"modeling_xwam", "processor_xwam", "imagination", "model_card", "pictures", "training"}
POLICY |= {"caching", "checkpoints", "evaluation_results", "adapters", "publishing", "acting"}
POLICY |= {"packing", "processor_mixture", "one_source", "safety", "monitoring"}

# room -> what it may import of this package, besides itself; from top to bottom
MAY_IMPORT: dict[str, set[str]] = {
    "cli": POLICY
    | {"planning", "benching", "collecting", "converting", "labelling", "estimating"}
    | {"doctor", "world", "envs", "robots", "serving", "mixing"},
    "planning": POLICY,
    "benching": POLICY,
    "mixing": {"converting", "data", "weights"},
    "converting": {"data", "space", "weights", "files", "benchmarks", "envs"},
    "collecting": {"data", "envs", "weights", "files"},
    "labelling": {"estimating", "doctor", "world", "data", "space", "weights", "files"},
    "doctor": {"configuration_xwam", "features", "presets", "data", "space"},
    "world": {
        "modeling_xwam",
        "packing",
        "processor_xwam",
        "configuration_xwam",
        "imagination",
        "pictures",
        "training",
    }
    | {"model", "codecs", "data", "space", "files", "estimating", "monitoring"},
    "estimating": set(),
    "lerobot_xwam": POLICY | {"envs", "robots"},  # the package's __init__ registers all of them
    "serving": {"modeling_xwam", "configuration_xwam"},
    "envs": POLICY,
    "robots": {"envs", "space"},
    "modeling_xwam": POLICY,
    "acting": {"checkpoints", "configuration_xwam", "imagination", "safety", "training", "monitoring"}
    | {"model", "codecs", "data"},
    "checkpoints": BRICKS | {"one_source", "model_card", "training", "adapters", "publishing"},
    "adapters": {"training", "weights"},
    "publishing": {"configuration_xwam"},
    "processor_xwam": BRICKS | {"safety", "packing", "processor_mixture"},
    "processor_mixture": BRICKS | {"packing"},
    "packing": {"codecs", "data"},
    "one_source": BRICKS | {"processor_xwam"},
    "safety": {"robot_settings"},
    "monitoring": {"configuration_xwam", "model", "codecs", "data", "weights", "files"},
    "caching": BRICKS | {"training"},
    "training": {"model", "codecs", "data", "files"},
    "imagination": {"model", "codecs"},
    "model_card": {"configuration_xwam", "presets", "evaluation_results"},
    "evaluation_results": set(),
    "pictures": {"files"},
    "weights": {"model", "codecs", "configuration_xwam", "presets", "files", "data"},
    "configuration_xwam": {"benchmarks", "model", "codecs", "data", "presets", "features", "training"}
    | {"robot_settings", "speed_settings", "combinations", "format_version", "fast_dtype"},
    "format_version": set(),
    "fast_dtype": set(),
    "robot_settings": set(),
    "speed_settings": set(),
    "combinations": {"configuration_xwam", "benchmarks", "codecs", "model"},
    "features": {"configuration_xwam", "benchmarks", "data"},
    "benchmarks": {"data", "space"},
    "data": {"space", "files"},
    "codecs": {"files"},
    "space": {"files"},
    "model": set(),
    "presets": set(),
    "files": set(),
}
# The paper's network stands alone, so that it can be read and lifted out. numpy: exact float32 sums.
MODEL_MAY_IMPORT = {"torch", "numpy"} | sys.stdlib_module_names


def room_of(module: str) -> str:
    """`lerobot_xwam.model.noise` -> `model`; the package itself -> `lerobot_xwam`."""
    return module.split(".")[1] if "." in module else module


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()


def imported_by(module: str, path: Path) -> Iterator[str]:
    """Absolute names of all modules that are imported anywhere in the file, inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            # `from lerobot_xwam import codecs` names a module by its alias
            yield from (f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names)


def test_the_walk_sees_relative_and_late_imports(tmp_path: Path) -> None:
    file = tmp_path / "noise.py"
    file.write_text(
        "from .types import Clip\nfrom .. import codecs\ndef late():\n    import scripts.x, tests\n"
    )
    seen = set(imported_by("lerobot_xwam.model.noise", file))
    assert seen == {"lerobot_xwam.model.types", "lerobot_xwam.codecs", "scripts.x", "tests"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    room = room_of(module)
    assert room in MAY_IMPORT, f"{module}: write the new room {room!r} and what it may import into MAY_IMPORT"
    allowed = MAY_IMPORT[room] | {room}
    for name in imported_by(module, MODULES[module]):
        top = name.partition(".")[0]
        assert top not in {"tests", "scripts", "lerobot_policy_xwam"}, f"{module} imports {name}"
        if top == "lerobot_xwam":
            assert room_of(name) in allowed, f"{module} imports {name}; {room} may import {sorted(allowed)}"
        elif room == "model":
            assert top in MODEL_MAY_IMPORT, f"{module} imports {name}: model/ is torch, numpy, stdlib only"
