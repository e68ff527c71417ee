"use strict";
// A cloud of points, painted into a canvas by hand: no WebGL is needed, so it looks the same everywhere.

const AXES = [[[0.1, 0, 0], "#d43d3d"], [[0, 0.1, 0], "#2e9d5b"], [[0, 0, 0.1], "#3f72dc"]];
const FIELD = 0.9; // focal length over the canvas's width
const NEAREST = 0.02; // metres before the eye
const DEEP = 0xff1d1714; // the canvas's ground, as ABGR

function decoded(text, kind) { // base64 -> typed array
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new kind(bytes.buffer);
}

class Orbit { // where one looks from; shared by all canvases
  constructor(view) {
    this.start = view;
    this.listeners = [];
    this.reset();
  }

  reset() {
    Object.assign(this, { turn: this.start.turn, tilt: this.start.tilt, distance: this.start.distance });
    this.middle = [...this.start.middle];
    this.changed();
  }

  changed() {
    this.tilt = Math.min(1.55, Math.max(-1.55, this.tilt));
    this.distance = Math.min(20, Math.max(0.05, this.distance));
    for (const listener of this.listeners) listener();
  }

  axes() { // right, down, forward: rows of the rotation
    const [a, b] = [Math.cos(this.turn), Math.sin(this.turn)], [c, d] = [Math.cos(this.tilt), Math.sin(this.tilt)];
    return [[-b, a, 0], [a * d, b * d, -c], [-a * c, -b * c, -d]];
  }

  move(dx, dy) { // shares of the canvas's width
    const [right, down] = this.axes(), step = this.distance / FIELD;
    this.middle = this.middle.map((value, i) => value - step * (dx * right[i] + dy * down[i]));
    this.changed();
  }
}

class Stage {
  constructor(canvas, orbit, options) {
    Object.assign(this, { canvas, orbit, options, cloud: null, lines: [] });
    this.context = canvas.getContext("2d");
    orbit.listeners.push(() => this.later());
    new ResizeObserver(() => this.later()).observe(canvas);
    this.listen();
  }

  show(cloud, lines) { // {points: metres, colours} or null, [{from, to, colour}]
    Object.assign(this, { cloud, lines });
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  listen() {
    const { canvas, orbit } = this, held = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      try { canvas.setPointerCapture(event.pointerId); } catch { /* it is gone already */ }
      held.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
      if (held.size > 1) { // two fingers: closer or farther
        const other = [...held].find(([id]) => id !== event.pointerId)[1];
        const span = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
        orbit.distance *= span(before) / span([event.clientX, event.clientY]);
        orbit.changed();
      } else if (event.shiftKey || event.buttons & 6) {
        orbit.move(dx / canvas.clientWidth, dy / canvas.clientWidth);
      } else {
        orbit.turn -= dx * 0.008;
        orbit.tilt += dy * 0.008;
        orbit.changed();
      }
      held.set(event.pointerId, [event.clientX, event.clientY]);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => held.delete(event.pointerId));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      orbit.distance *= Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.002);
      orbit.changed();
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!step) return;
      event.preventDefault();
      orbit.turn += step[0];
      orbit.tilt += step[1];
      orbit.changed();
    });
  }

  seen(point) { // metres in the room -> [x, y, distance] in the canvas
    const [right, down, forward] = this.rows, { middle, distance } = this.orbit;
    const [x, y, z] = [point[0] - middle[0], point[1] - middle[1], point[2] - middle[2]];
    const along = (axis) => x * axis[0] + y * axis[1] + z * axis[2];
    const away = along(forward) + distance;
    return [this.half[0] + this.focal * along(right) / away, this.half[1] + this.focal * along(down) / away, away];
  }

  paint() {
    const { canvas, context } = this, ratio = Math.min(window.devicePixelRatio || 1, 1.5);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.rows = this.orbit.axes();
    this.half = [width / 2, height / 2];
    this.focal = FIELD * width;
    const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    pixels.fill(DEEP);
    if (this.cloud) this.splat(pixels, width, height);
    context.putImageData(image, 0, 0);
    if (this.options.lines()) this.draw(ratio);
  }

  splat(pixels, width, height) { // every point a small square, the nearest in front
    const { points, colours } = this.cloud, depth = new Float32Array(width * height).fill(Infinity);
    const [r, d, f] = this.rows, [mx, my, mz] = this.orbit.middle, { distance } = this.orbit;
    const { focal } = this, [cx, cy] = this.half, spacing = this.options.spacing() * focal;
    for (let i = 0; i < points.length; i += 3) {
      const x = points[i] - mx, y = points[i + 1] - my, z = points[i + 2] - mz;
      const away = x * f[0] + y * f[1] + z * f[2] + distance;
      if (away < NEAREST) continue;
      const size = Math.max(1, Math.min(40, Math.round(spacing / away)));
      const left = Math.round(cx + focal * (x * r[0] + y * r[1] + z * r[2]) / away - size / 2);
      const top = Math.round(cy + focal * (x * d[0] + y * d[1] + z * d[2]) / away - size / 2);
      const colour = 0xff000000 | colours[i + 2] << 16 | colours[i + 1] << 8 | colours[i];
      const [x1, y1] = [Math.min(width, left + size), Math.min(height, top + size)];
      for (let v = Math.max(0, top); v < y1; v++) {
        for (let u = Math.max(0, left), at = v * width + u; u < x1; u++, at++) {
          if (away < depth[at]) { depth[at] = away; pixels[at] = colour; }
        }
      }
    }
  }

  draw(ratio) {
    const { context } = this;
    context.lineWidth = 1.6 * ratio;
    context.lineCap = "round";
    for (const { from, to, colour } of [...AXES.map(([to, colour]) => ({ from: [0, 0, 0], to, colour })), ...this.lines]) {
      const [a, b] = [this.seen(from), this.seen(to)];
      if (a[2] < NEAREST || b[2] < NEAREST) continue;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
      context.stroke();
    }
  }
}
