"use strict";
// Puts the parts together: decodes the runs, draws when something has changed, and follows the screen.
(function () {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const SLOW = 28, LEAST = 0.5;  // milliseconds from one picture to the next; share of the pixels per side
  const SVG = "http://www.w3.org/2000/svg";

  // Over the picture: the outline of the sphere, and where the three axes point.
  function frame(canvas) {
    const make = (name, parent) => parent.appendChild(document.createElementNS(SVG, name));
    const set = (node, values) => { for (const [key, value] of Object.entries(values)) { node.setAttribute(key, value.toFixed(1)); } };
    const box = document.createElementNS(SVG, "svg");
    box.setAttribute("class", "frame");
    box.setAttribute("aria-hidden", "true");
    canvas.after(box);
    const circle = make("circle", box);
    const axes = scene.kind === "circle" ? [] : [0, 1, 2].map(function (axis) {
      const line = make("line", box), text = make("text", box);
      text.textContent = String(axis + 1);
      return { line, text };
    });
    const start = scene.kind === "ball" ? 0 : 1;
    let last = "";
    return function ({ turn, zoom }) {
      const width = canvas.clientWidth, height = canvas.clientHeight, radius = 0.41 * Math.min(width, height) * zoom;
      const now = JSON.stringify([turn, radius, width, height]);
      if (now === last) { return; }
      last = now;
      set(circle, { cx: width / 2, cy: height / 2, r: radius });
      axes.forEach(function ({ line, text }, axis) {
        const [x, y, z] = [turn[0][axis], -turn[1][axis], turn[2][axis]];
        const at = (r) => [width / 2 + radius * r * x, height / 2 + radius * r * y];
        const [[x1, y1], [x2, y2], [tx, ty]] = [at(start), at(1.07), at(1.13)];
        set(line, { x1, y1, x2, y2 });
        set(text, { x: tx, y: ty });
        line.style.opacity = text.style.opacity = z < 0 && start ? 0.25 : 0.9;
      });
    };
  }

  function painter(canvas, run) {
    if (location.hash !== "#2d") {
      const made = flow.glPainter(canvas, run, scene);
      if (made) { return made; }
    }
    return flow.flatPainter(canvas, run, scene);
  }

  function fit(canvas, ratio) {
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  }

  // Fewer pixels while a slow computer plays or turns; all of them at rest.
  function quality(redraw) {
    let share = 1, before = 0, mean = 0, rest = 0;
    return function (now) {
      const interval = now - before;
      before = now;
      mean = interval < 400 ? 0.8 * mean + 0.2 * interval : 0;
      if (mean > SLOW) { share = Math.max(0.8 * share, LEAST); mean = 0; }
      clearTimeout(rest);
      if (share < 1) { rest = setTimeout(function () { share = 1; redraw(); }, 500); }
      return share;
    };
  }

  function failed(text) {
    const problem = document.getElementById("problem");
    problem.textContent = text;
    problem.hidden = false;
  }

  async function begin() {
    if (typeof DecompressionStream === "undefined") {
      failed("This browser cannot show the page: it lacks DecompressionStream. Chrome 80, Firefox 113, Safari 16.4 and later have it.");
      return;
    }
    const runs = await flow.decoded(scene);
    // A step of the slider is a step at which any of the runs was saved.
    const ticks = [...new Set(runs.flatMap((run) => run.clock))].sort((a, b) => a - b);
    const frames = runs.map((run) => ticks.map((tick) => Math.max(run.clock.findLastIndex((t) => t <= tick), 0)));
    let theme = flow.theme(scene), mode = -1, waiting = false;
    const changed = function () {
      if (!waiting) { waiting = true; requestAnimationFrame(draw); }
    };
    const sharpness = quality(changed);
    const camera = flow.camera(scene.kind, changed);
    const panels = runs.map(function (run, i) {
      const canvas = document.getElementById(`panel-${i}`);
      flow.steer(canvas, camera);
      const panel = { canvas, run, paint: painter(canvas, run), frame: frame(canvas), step: canvas.closest("figure").querySelector("figcaption span") };
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", function () { panel.paint = painter(canvas, run); changed(); });
      new ResizeObserver(changed).observe(canvas);
      return panel;
    });
    const seek = function (clock) {
      let best = 0;
      ticks.forEach((tick, i) => { if (Math.abs(tick - clock) < Math.abs(ticks[best] - clock)) { best = i; } });
      player.toggle(false);
      player.go(best);
    };
    const move = flow.charts(document.getElementById("charts"), scene, ticks, seek);
    const now = document.getElementById("now"), slider = document.getElementById("frame");
    const player = flow.player(ticks.length, changed);
    flow.keys(player, camera);

    function draw() {
      waiting = false;
      const started = performance.now(), ratio = Math.min(devicePixelRatio || 1, 2) * sharpness(started), index = player.index;
      panels.forEach(function ({ canvas, run, paint, frame: around, step }, i) {
        fit(canvas, ratio);
        const frame = frames[i][index];
        paint({ turn: camera.turn, zoom: camera.zoom, frame, mode, theme, ratio });
        around(camera);
        step.textContent = `${scene.unit} ${flow.number(run.clock[frame])}`;
      });
      move(ticks[index]);
      if (now) {
        now.textContent = `${index + 1} of ${ticks.length}`;
        slider.setAttribute("aria-valuetext", `${scene.unit} ${flow.number(ticks[index])}, ${index + 1} of ${ticks.length}`);
      }
      document.documentElement.dataset.drawn = String(index);
      flow.drawn = { count: (flow.drawn ? flow.drawn.count : 0) + 1, milliseconds: performance.now() - started };
    }

    const choice = document.getElementById("mode");
    if (choice) {
      choice.addEventListener("change", function () { mode = Number(choice.value); flow.legend(scene, mode, theme); changed(); });
    }
    document.getElementById("reset").addEventListener("click", camera.reset);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
      theme = flow.theme(scene);
      flow.legend(scene, mode, theme);
      changed();
    });
    flow.legend(scene, mode, theme);
    flow.state = { camera, player, get theme() { return theme; } };
    flow.painters = panels.map((panel) => panel.paint);
    changed();
  }

  begin().catch((error) => failed(`The page could not be drawn: ${error.message}`));
})();
