"use strict";
// One camera for all panels: a rotation, as rows of a 3 × 3 matrix, and a zoom. Rows are the directions to the
// right, upwards and towards the viewer.
(function () {
  const LEAST = 0.6, MOST = 12;

  function about(axis, angle) {
    const c = Math.cos(angle), s = Math.sin(angle);
    if (axis === "x") { return [[1, 0, 0], [0, c, -s], [0, s, c]]; }
    if (axis === "y") { return [[c, 0, s], [0, 1, 0], [-s, 0, c]]; }
    return [[c, -s, 0], [s, c, 0], [0, 0, 1]];
  }

  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const times = (a, b) => a.map((row) => [0, 1, 2].map((k) => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const scaled = (a, factor) => a.map((value) => value * factor);

  // Many small turns add up rounding errors, which this removes.
  function orthonormal([a, b]) {
    const x = scaled(a, 1 / Math.hypot(...a));
    const rest = b.map((value, k) => value - dot(b, x) * x[k]);
    const y = scaled(rest, 1 / Math.hypot(...rest));
    return [x, y, [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]];
  }

  // The sphere's third axis points upwards; of a ball the first axis points to the right, the second upwards.
  function original(kind) {
    if (kind === "circle") { return [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; }
    if (kind === "ball") { return times(about("x", 0.25), about("y", -0.35)); }
    const azimuth = 0.6, elevation = 0.35;
    const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
    return [[-sa, ca, 0], [-se * ca, -se * sa, ce], [ce * ca, ce * sa, se]];
  }

  flow.camera = function (kind, changed) {
    const camera = { turn: original(kind), zoom: 1 };
    camera.rotate = function (right, down) {
      const more = kind === "circle" ? about("z", -right) : times(about("x", down), about("y", right));
      camera.turn = orthonormal(times(more, camera.turn));
      changed();
    };
    camera.scale = function (factor) {
      camera.zoom = Math.min(Math.max(camera.zoom * factor, LEAST), MOST);
      changed();
    };
    camera.reset = function () {
      camera.turn = original(kind);
      camera.zoom = 1;
      changed();
    };
    return camera;
  };

  // Mouse and fingers on a canvas: one turns, two zoom.
  flow.steer = function (canvas, camera) {
    const fingers = new Map();
    const apart = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
    canvas.addEventListener("pointerdown", function (event) {
      try { canvas.setPointerCapture(event.pointerId); } catch { /* the pointer is gone already */ }
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", function (event) {
      const before = fingers.get(event.pointerId);
      if (!before) { return; }
      const distance = fingers.size === 2 ? apart() : 0;
      const right = event.clientX - before.x, down = event.clientY - before.y;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (fingers.size === 1) {
        const speed = 2.4 / (canvas.clientHeight * Math.max(camera.zoom, 1));
        camera.rotate(right * speed, down * speed);
      } else if (fingers.size === 2 && distance > 0) {
        camera.scale(apart() / distance);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    // The wheel alone scrolls the page; browsers report two fingers of a touch pad as wheel and ctrl.
    canvas.addEventListener("wheel", function (event) {
      if (!event.ctrlKey && !event.metaKey) { return; }
      event.preventDefault();
      camera.scale(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
    }, { passive: false });
  };
})();
