"""The report of `lerobot-xwam imagine` in a real browser: it opens offline, and its clouds turn."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, browse, page_after, told
from PIL import Image
from world_scene import GRID, film, true_rig

from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.scores import Scene
from lerobot_xwam.world.showing.exhibition import TRUTH, Exhibition
from lerobot_xwam.world.showing.hanging import write_exhibition

# Counts what is painted, then does what a person would, and leaves what changed in the root element.
ACT = """
window.requestAnimationFrame = (paint) => setTimeout(paint, 16); // a browser without a window paints rarely
const settle = (ms = 120) => new Promise((done) => setTimeout(done, ms));
const canvases = [...document.querySelectorAll("canvas")];
const picture = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const different = (a, b) => a.reduce((sum, value, i) => sum + (value !== b[i]), 0) / a.length;
const painted = (data) => {
  let count = 0;
  for (let i = 0; i < data.length; i += 4) count += data[i] + data[i + 1] + data[i + 2] > 120;
  return 4 * count / data.length;
};
const drag = (canvas, dx, dy, more = {}) => {
  for (const [type, clientX, clientY] of [["down", 100, 100], ["move", 100 + dx, 100 + dy], ["up", 0, 0]])
    canvas.dispatchEvent(new PointerEvent(`pointer${type}`, { pointerId: 1, clientX, clientY, ...more }));
};
const set = (id, value) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("input"));
};
(async () => {
  const tell = document.documentElement.dataset;
  await settle(800);
  const start = canvases.map(picture);
  const changes = {};
  const after = async (name, act) => {
    document.getElementById("home").click(); set("frame", 0); await settle();
    const before = canvases.map(picture);
    await act(); await settle();
    changes[name] = canvases.map((canvas, i) => different(before[i], picture(canvas)).toFixed(4)).join(" ");
  };
  await after("still", async () => {});
  await after("turn", async () => drag(canvases[0], 80, 0));
  await after("move", async () => drag(canvases[0], 40, 10, { shiftKey: true }));
  await after("zoom", async () => canvases[0].dispatchEvent(new WheelEvent("wheel", { deltaY: -50 })));
  await after("time", async () => set("frame", 3));
  await after("other", async () => set("future", 1));
  await after("lines", async () => document.getElementById("lines").click());
  tell.canvases = canvases.length;
  tell.painted = start.map((data) => painted(data).toFixed(3)).join(" ");
  for (const [name, value] of Object.entries(changes)) tell[name] = value;
  const videos = [...document.querySelectorAll("video")];
  await Promise.all(videos.map((v) => v.readyState > 0 || new Promise((ok) => {
    v.onloadedmetadata = ok; v.onerror = ok; setTimeout(ok, 3000);
  })));
  tell.videos = videos.map((v) => v.videoWidth).join(" ");
  tell.asked = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:")).length;
})();
"""


@pytest.fixture(scope="module")
def exhibition() -> Exhibition:
    rig = true_rig()
    truth = replace(film(rig), name=TRUTH)
    assert truth.metres is not None
    noise = np.random.default_rng(0).normal(1, 0.004, truth.metres.shape).astype(np.float32)
    near = replace(truth, name="own actions", metres=truth.metres * noise)
    other = replace(truth, name="opposite actions", rgb=255 - truth.rgb)
    scene = Scene(GRID, rig, tuple(rig.static(truth.cameras)), effectors_of_layout)
    return Exhibition([near, other], truth, scene, "a <b>task</b> & {{data}}", frozenset({near.name}), {})


@pytest.fixture(scope="module")
def folder(exhibition: Exhibition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_exhibition(folder, exhibition, {"policy": "a </script> b"}, scale=1, recording=False)
    return folder


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|<link|src=\"(?!data:)", page)
    assert "default-src 'none'" in page and page.count("</script>") == 2
    assert "a &lt;b&gt;task&lt;/b&gt; &amp; {{data}}" in page
    assert page.count("data:video/mp4;base64,") == 1 + 3 and page.count("data:image/png;base64,") == 1


in_a_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt install chromium-headless-shell"
)


@pytest.fixture(scope="module")
def seen(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_after(folder / "report.html", ACT, tmp_path_factory.mktemp("browser"))


@in_a_browser
def test_it_works(seen: str) -> None:
    assert told(seen, "state") == "ready"
    assert re.search(r'id="trouble"[^>]*hidden', seen)
    assert told(seen, "asked") == "0"


@in_a_browser
def test_clouds_are_painted_and_turn(seen: str) -> None:
    """What happened and what was imagined side by side, from one point of view."""
    assert told(seen, "canvases") == "2"
    assert all(float(share) > 0.3 for share in told(seen, "painted").split())
    assert told(seen, "still") == "0.0000 0.0000"
    for act in ("time", "lines"):
        assert all(float(share) > 0.0001 for share in told(seen, act).split()), act
    for act in ("turn", "move", "zoom"):
        assert all(float(share) > 0.1 for share in told(seen, act).split()), act
    truth, imagined = map(float, told(seen, "other").split())
    assert truth == 0 and imagined > 0.3  # only the imagined side changes


@in_a_browser
def test_films_can_be_played(seen: str, exhibition: Exhibition) -> None:
    width = exhibition.futures[0].size[1]
    assert told(seen, "videos").split() == [str(3 * width)] * 4  # three views; three footages per view


@in_a_browser
def test_plots_and_words(seen: str) -> None:
    assert seen.count("<svg") == 6 and seen.count("<path") == 6 * 2
    assert '<option value="1">opposite actions</option>' in seen


@in_a_browser
def test_a_screenshot_shows_it(folder: Path, tmp_path: Path) -> None:
    browse(folder / "report.html", f"--screenshot={tmp_path / 'page.png'}")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert pixels.shape == (1000, 1200, 3)
    assert pixels[300:700].std() > 50  # two clouds in many colours
