// What the page does with its data: {frames, seconds, view, spacing, worlds: [{name, truth, colour, frames}], charts}

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);

function unpacked(frame) { // int16 steps of a grid -> metres
  const steps = decoded(frame.points, Int16Array), points = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i++) points[i] = data.grid.middle[i % 3] + steps[i] * data.grid.step;
  return { points, colours: decoded(frame.colours, Uint8Array) };
}

function linesOf(world, frame) { // cameras as pyramids, the arms' ways, and where they are now
  const lines = [], link = (from, to, colour) => lines.push({ from, to, colour });
  for (const corners of world.frames[frame].cameras) {
    const [eye, ...rim] = corners;
    rim.forEach((corner, i) => { link(eye, corner, "#f4d35e"); link(corner, rim[(i + 1) % 4], "#f4d35e"); });
  }
  for (const way of world.ways) {
    for (let i = 1; i < way.length; i++) link(way[i - 1], way[i], i <= frame ? world.colour : world.colour + "66");
  }
  for (const arm of world.frames[frame].arms) {
    for (let i = 1; i < arm.length; i++) link(arm[0], arm[i], ["#d43d3d", "#2e9d5b", "#3f72dc"][i - 1]);
  }
  return lines;
}

function startViewer() {
  const orbit = new Orbit(data.view), clouds = new Map();
  const options = { lines: () => at("lines").checked, spacing: () => data.spacing * Number(at("size").value) };
  const truth = data.worlds.find((world) => world.truth), futures = data.worlds.filter((world) => !world.truth);
  const stages = [truth, futures[0]].filter(Boolean).map((world) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    figure.className = "stage";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    figure.append(canvas, caption);
    at("stages").append(figure);
    return { stage: new Stage(canvas, orbit, options), caption, canvas, world };
  });
  futures.forEach((world, i) => at("future").add(new Option(world.name, i)));
  at("future").parentElement.hidden = futures.length < 2;
  at("frame").max = data.frames - 1;

  function cloudOf(world, frame) {
    const key = `${world.name}/${frame}`;
    if (!clouds.has(key)) clouds.set(key, world.frames[frame].points ? unpacked(world.frames[frame]) : null);
    return clouds.get(key);
  }

  function show() {
    const frame = Number(at("frame").value);
    at("moment").value = `${(frame * data.seconds).toFixed(2)} s, ${frame + 1} of ${data.frames}`;
    for (const each of stages) {
      if (!each.world.truth) each.world = futures[Number(at("future").value)];
      const known = frame < each.world.frames.length;
      const shown = Math.min(frame, each.world.frames.length - 1);
      each.caption.textContent = each.world.name + (known ? "" : " (the episode has ended)");
      each.canvas.setAttribute("aria-label", `point cloud: ${each.world.name}`);
      each.stage.show(cloudOf(each.world, shown), linesOf(each.world, shown));
    }
  }

  let timer = null;
  function play(on) {
    clearInterval(timer);
    timer = !on ? null : setInterval(() => {
      at("frame").value = (Number(at("frame").value) + 1) % data.frames;
      show();
    }, Math.max(150, 1000 * data.seconds));
    at("play").textContent = on ? "Pause" : "Play";
    at("play").setAttribute("aria-pressed", on);
  }

  at("play").addEventListener("click", () => play(timer === null));
  at("frame").addEventListener("input", () => { play(false); show(); });
  at("future").addEventListener("input", show);
  for (const id of ["lines", "size"]) at(id).addEventListener("input", () => orbit.changed());
  at("home").addEventListener("click", () => orbit.reset());
  show();
}

function chart(box, { title, better, lines }) { // one metric over the horizon, as SVG
  const make = (tag, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return parent.appendChild(element);
  };
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  if (!values.length) return;
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * 0.12;
  [low, high] = [low - pad, high + pad];
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  caption.textContent = `${title} (${better} is better)`;
  figure.append(caption);
  const svg = make("svg", { viewBox: "0 0 280 150", role: "img", "aria-label": caption.textContent }, figure);
  const steps = Math.max(...lines.map((line) => line.values.length));
  const x = (i) => 46 + 222 * (steps > 1 ? i / (steps - 1) : 0.5), y = (v) => 122 - 112 * (v - low) / (high - low);
  for (const share of [0.1, 0.5, 0.9]) {
    const value = low + share * (high - low);
    make("line", { x1: 40, x2: 274, y1: y(value), y2: y(value), stroke: "#e6e9ef" }, svg);
    make("text", { x: 36, y: y(value) + 3.5, "font-size": 10, fill: "#667085", "text-anchor": "end" }, svg)
      .textContent = Math.abs(value) >= 10 ? value.toFixed(1) : value.toPrecision(2);
  }
  for (const i of [...new Set([0, steps - 1])]) {
    make("text", { x: x(i), y: 140, "font-size": 10, fill: "#667085", "text-anchor": "middle" }, svg)
      .textContent = `${((i + 1) * data.seconds).toFixed(1)} s`;
  }
  for (const { values: row, colour } of lines) {
    const path = row.map((v, i) => (v === null ? "" : `${i && row[i - 1] !== null ? "L" : "M"}${x(i)} ${y(v)}`)).join("");
    make("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" }, svg);
    row.forEach((v, i) => v !== null && make("circle", { cx: x(i), cy: y(v), r: 2.4, fill: colour }, svg));
  }
  box.append(figure);
}

function startCharts() {
  const box = at("charts"), legend = document.createElement("p");
  legend.className = "legend";
  for (const { name, colour } of data.legend) {
    const entry = document.createElement("span"), mark = document.createElement("i");
    mark.style.background = colour;
    entry.append(mark, name);
    legend.append(entry);
  }
  box.append(legend);
  for (const each of data.charts) chart(box, each);
}

window.addEventListener("error", (event) => {
  at("trouble").hidden = false;
  at("trouble").textContent = `This page does not work here: ${event.message}`;
  document.documentElement.dataset.state = "broken";
});
if (data.worlds.length) startViewer(); else at("room").remove();
if (data.charts.length) startCharts();
requestAnimationFrame(() => requestAnimationFrame(() => {
  if (document.documentElement.dataset.state !== "broken") document.documentElement.dataset.state = "ready";
}));
