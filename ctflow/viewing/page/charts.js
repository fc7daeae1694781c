"use strict";
// Charts of the series beside the picture: a curve per run, and a marker at the current step.
(function () {
  const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
  const SVG = "http://www.w3.org/2000/svg";

  flow.number = function (value) {
    if (value === null || value === undefined) { return "none"; }
    const size = Math.abs(value);
    const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
    return text.replace("-", "−");
  };

  // Where a step lies along the axis, in [0, 1]: logarithmic if the saved steps grow geometrically.
  flow.axis = function (ticks) {
    const first = ticks[0], last = ticks[ticks.length - 1], unit = ticks.length > 1 ? ticks[1] - first : 1;
    const logarithmic = ticks.length > 4 && last - ticks[ticks.length - 2] > 20 * unit;
    const place = logarithmic ? (t) => Math.log1p((t - first) / unit) : (t) => t - first;
    const whole = place(last) || 1;
    const back = logarithmic ? (s) => first + unit * Math.expm1(s * whole) : (s) => first + s * whole;
    return { logarithmic, first, last, at: (t) => place(t) / whole, back };
  };

  function element(parent, name, attributes, text) {
    const made = name === "svg" || name === "path"
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) { made.setAttribute(key, value); }
    if (text !== undefined) { made.textContent = text; }
    parent.append(made);
    return made;
  }

  function path(xs, values, axis, low, high) {
    let text = "", pen = "M";
    values.forEach(function (value, i) {
      if (value === null) { pen = "M"; return; }
      const y = high > low ? 96 - (92 * (value - low)) / (high - low) : 50;
      text += `${pen}${(1000 * axis.at(xs[i])).toFixed(1)} ${y.toFixed(2)}`;
      pen = "L";
    });
    return text;
  }

  // The last number at or before a step, and its place.
  function latest(run, name, clock) {
    const xs = run.seriesClock;
    let i = xs.length - 1;
    while (i > 0 && xs[i] > clock) { i--; }
    return run.series[name][i];
  }

  function chart(parent, scene, name, axis, seek) {
    const runs = scene.runs.filter((run) => run.series[name]);
    const finite = runs.flatMap((run) => run.series[name]).filter((value) => value !== null);
    const low = Math.min(...finite), high = Math.max(...finite);
    const box = element(parent, "figure", { class: "chart" });
    const caption = element(box, "figcaption", {}, "");
    element(caption, "strong", {}, name.replaceAll("_", " "));
    const now = element(caption, "span", { class: "value" });
    const said = `${name}: from ${flow.number(runs[0].series[name][0])} to ${flow.number(runs[0].series[name].at(-1))}`;
    const plot = element(box, "div", { class: "plot", role: "img", "aria-label": said });
    const svg = element(plot, "svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const run of runs) {
      element(svg, "path", { d: path(run.seriesClock, run.series[name], axis, low, high), "stroke-dasharray": DASHES[scene.runs.indexOf(run)] });
    }
    const line = element(plot, "i", { class: "line" });
    const dots = runs.map(() => element(plot, "i", { class: "dot" }));
    element(plot, "span", { class: "high" }, finite.length ? flow.number(high) : "no number");
    element(plot, "span", { class: "low" }, finite.length ? flow.number(low) : "");
    plot.addEventListener("pointerdown", function (event) {
      const area = svg.getBoundingClientRect();
      seek(axis.back(Math.min(Math.max((event.clientX - area.left) / area.width, 0), 1)));
    });
    return function (clock) {
      const x = axis.at(clock);
      line.style.left = `${100 * x}%`;
      now.textContent = runs.map((run) => flow.number(latest(run, name, clock))).join(" · ");
      runs.forEach(function (run, i) {
        const value = latest(run, name, clock);
        dots[i].hidden = value === null;
        const y = high > low ? 96 - (92 * (value - low)) / (high - low) : 50;
        dots[i].style.left = `${100 * x}%`;
        dots[i].style.top = `${y}%`;
      });
    };
  }

  // Draws all charts; returns a function that moves their markers to a step.
  flow.charts = function (parent, scene, ticks, seek) {
    const names = [...new Set(scene.runs.flatMap((run) => Object.keys(run.series)))];
    const axis = flow.axis(ticks);
    if (names.length && scene.runs.length > 1) {
      const key = element(parent, "p", { class: "key" });
      scene.runs.forEach(function (run, i) {
        const svg = element(key, "svg", { viewBox: "0 0 30 6", width: 30, height: 6, "aria-hidden": "true" });
        element(svg, "path", { d: "M0 3H30", "stroke-dasharray": DASHES[i] });
        element(key, "span", {}, ` ${run.label} `);
      });
    }
    const moves = names.map((name) => chart(parent, scene, name, axis, seek));
    if (names.length) {
      const scale = axis.logarithmic ? " (logarithmic axis)" : "";
      element(parent, "p", { class: "ends" }, `Each chart runs from ${scene.unit} ${flow.number(axis.first)} to ${flow.number(axis.last)}${scale}.`);
    }
    parent.hidden = names.length === 0;
    return (clock) => moves.forEach((move) => move(clock));
  };
})();
