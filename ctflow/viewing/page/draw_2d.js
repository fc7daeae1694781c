"use strict";
// What both painters share, and drawing without WebGL: slower, but the same picture.
(function () {
  const COARSE = 3;  // pixels of the screen per side of a pixel of the surface

  // Pixels across a point: smaller the more there are.
  flow.pointSize = function (run) {
    const n = run.clouds.reduce((sum, cloud) => sum + cloud.n, 0);
    return Math.min(Math.max(22 / Math.pow(n, 0.22), 3.2), 9);
  };

  // Each further cloud on a circle is drawn a little outside the one before.
  flow.radius = (kind, i) => (kind === "circle" ? 1 + 0.055 * i : 1);

  flow.scale = function (canvas, zoom) {
    const side = Math.min(canvas.width, canvas.height) * 0.82 * zoom;
    return [side / canvas.width, side / canvas.height];
  };

  flow.flatPainter = function (canvas, run, scene) {
    const context = canvas.getContext("2d");
    const size = flow.pointSize(run);
    const small = document.createElement("canvas");

    function globe(state, radius) {
      const [cx, cy] = [canvas.width / 2, canvas.height / 2];
      if (scene.kind === "sphere" || run.surface) {
        const width = Math.max(8, Math.ceil((2 * radius) / (COARSE * state.ratio)));
        small.width = small.height = width;
        const inner = small.getContext("2d"), image = inner.createImageData(width, width);
        fill(image, width, state);
        inner.putImageData(image, 0, 0);
        context.drawImage(small, cx - radius, cy - radius, 2 * radius, 2 * radius);
      }
    }

    function fill(image, width, state) {
      const heights = run.surface && run.surface[state.frame], { turn, theme } = state;
      const sphere = scene.kind === "sphere";
      for (let j = 0, k = 0; j < width; j++) {
        for (let i = 0; i < width; i++, k += 4) {
          const x = (2 * (i + 0.5)) / width - 1, y = 1 - (2 * (j + 0.5)) / width, r2 = x * x + y * y;
          if (r2 > 1 || (!sphere && (r2 < 0.7 || r2 > 0.865))) { continue; }
          const z = sphere ? Math.sqrt(1 - r2) : 0;
          const world = [0, 1, 2].map((c) => x * turn[0][c] + y * turn[1][c] + z * turn[2][c]);
          const color = heights ? surfaceColor(heights, world, theme) : theme.ground;
          image.data.set([...color, sphere ? (heights ? 204 : 153) : 255], k);
        }
      }
    }

    function surfaceColor(heights, world, theme) {
      const { rows, columns } = scene.surface;
      const longitude = (Math.atan2(world[1], world[0]) / (2 * Math.PI) + 1) % 1;
      const row = rows === 1 ? 0 : Math.min(rows - 1, Math.floor((Math.acos(Math.min(Math.max(world[2], -1), 1)) / Math.PI) * rows));
      const level = Math.min(254, heights[row * columns + Math.floor(longitude * columns)]);
      return theme.surface.subarray(4 * level, 4 * level + 3);
    }

    function points(state, radius, side) {
      const { turn, theme } = state;
      const half = (size * state.ratio * Math.min(Math.sqrt(state.zoom), 2)) / 2;
      const pale = scene.kind === "ball" ? 0.6 : side < 0 ? 0.5 : 0.95;
      context.globalAlpha = pale;
      run.clouds.forEach(function (cloud, c) {
        const places = cloud.frames[state.frame];
        const levels = state.mode < 0 ? null : run.fields[state.mode][c];
        const factor = (radius * flow.radius(scene.kind, c)) / 32767;
        const plain = state.mode < 0 ? theme.clouds[c % theme.clouds.length] : [...theme.values.subarray(1020, 1023)];
        context.fillStyle = flow.css(plain);
        for (let i = 0; i < cloud.n; i++) {
          const a = places[4 * i], b = places[4 * i + 1], d = places[4 * i + 2];
          const depth = turn[2][0] * a + turn[2][1] * b + turn[2][2] * d;
          if (side * depth < 0) { continue; }
          if (levels) {
            const level = levels[state.frame][i];
            context.fillStyle = flow.css([...theme.values.subarray(4 * level, 4 * level + 3)]);
          }
          const x = canvas.width / 2 + factor * (turn[0][0] * a + turn[0][1] * b + turn[0][2] * d);
          const y = canvas.height / 2 - factor * (turn[1][0] * a + turn[1][1] * b + turn[1][2] * d);
          context.fillRect(x - half, y - half, 2 * half, 2 * half);
        }
      });
      context.globalAlpha = 1;
    }

    return function (state) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      const radius = (canvas.height * flow.scale(canvas, state.zoom)[1]) / 2;
      if (scene.kind === "sphere") { points(state, radius, -1); }
      globe(state, radius);
      points(state, radius, scene.kind === "sphere" ? 1 : 0);
    };
  };
})();
