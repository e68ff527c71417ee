"""A stranger's installation: what is in the wheel, and that LeRobot finds the policy either way."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
OFFLINE_BUILD = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]

# What lerobot-train does before it looks at --policy.type, and then what it does with it.
DISCOVER = """
import importlib.metadata, json, logging
logging.basicConfig(level=logging.WARNING)
from lerobot.utils.import_utils import register_third_party_plugins
register_third_party_plugins()
from lerobot.configs import PreTrainedConfig
from lerobot.envs.configs import EnvConfig
from lerobot.policies.factory import get_policy_class
import lerobot_xwam
print(json.dumps({
    "distributions": [d.metadata["Name"] for d in importlib.metadata.distributions()],
    "policies": list(PreTrainedConfig.get_known_choices()),
    "envs": list(EnvConfig.get_known_choices()),
    "class": get_policy_class("xwam").__name__,
    "file": lerobot_xwam.__file__,
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Output of a command that must succeed; pip is kept from the tester's own configuration."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def clean_environment(folder: Path) -> Path:
    """A fresh venv that sees all packages of this environment except this project; returns its interpreter.

    Links and not one .pth line to the whole folder: this project's own metadata in it would be found too.
    """
    venv.create(folder / "venv", symlinks=True)
    packages = folder / "packages"
    packages.mkdir()
    for name in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(name).iterdir():
            if "xwam" not in entry.name and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry)
    python = folder / "venv" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(site) / "links.pth").write_text(f"{packages}\n")
    return python


def install(python: Path, *what: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "install", *OFFLINE_BUILD, *what, cwd=python.parent)


def discover(python: Path) -> dict[str, Any]:
    """LeRobot's view of the environment, from a folder that is not the repository."""
    found: dict[str, Any] = json.loads(run(python, "-c", DISCOVER, cwd=python.parent).splitlines()[-1])
    return found


def assert_discovered(found: dict[str, Any]) -> None:
    assert found["distributions"].count("lerobot_policy_xwam") == 1
    assert "xwam" in found["policies"]
    assert "xwam_tabletop" in found["envs"]
    assert found["class"] == "XWAMPolicy"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", *OFFLINE_BUILD, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        licences = [n for n in archive.namelist() if n.endswith(".dist-info/licenses/LICENSE")]
    in_tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lerobot_xwam").rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)
    }
    assert names == in_tree | {"lerobot_policy_xwam.py"}  # so assets and templates are in, tests are not
    assert len(licences) == 1


def test_the_metadata_name_is_the_one_lerobot_looks_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    assert "Name: lerobot_policy_xwam" in lines  # raw, with underscores: not the normalised form


def test_lerobot_discovers_the_wheel(wheel: Path, tmp_path: Path) -> None:
    python = clean_environment(tmp_path)
    install(python, wheel)
    found = discover(python)
    assert_discovered(found)
    assert Path(found["file"]).is_relative_to(tmp_path), "the repository was imported, not the wheel"


@pytest.mark.slow
def test_lerobot_discovers_the_editable_installation(tmp_path: Path) -> None:
    python = clean_environment(tmp_path)
    install(python, "-e", ROOT)
    found = discover(python)
    assert_discovered(found)
    assert Path(found["file"]).is_relative_to(ROOT)


def test_without_installation_nothing_is_discovered(tmp_path: Path) -> None:
    """Guards the two tests above: the clean environment does not see this project by another way."""
    listing = "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    names = run(clean_environment(tmp_path), "-c", listing, cwd=tmp_path)
    assert "'lerobot'" in names
    assert "xwam" not in names


def test_direct_dependencies_are_pinned_within_their_ranges() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {r.name: r.specifier for r in map(Requirement, (s for s in lines if s and not s.startswith("#")))}
    assert all(str(specifier).startswith("==") for specifier in pins.values())
    extras = project["optional-dependencies"]
    for requirement in map(Requirement, [*project["dependencies"], *extras["dev"], *extras["robot"]]):
        pinned = str(pins[canonicalize_name(requirement.name)]).removeprefix("==")
        assert requirement.specifier.contains(pinned), f"{requirement} excludes the pinned {pinned}"
