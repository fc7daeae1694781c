"use strict";
// Colours of the light and the dark page. Numbers per particle run through viridis, which colour-blind readers
// can order too; the surface is a scale of greys, on which the clouds' colours stand out.
(function () {
  const viridis = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
  const surfaces = { light: ["#8f8f8f", "#cbcbcb", "#fafafa"], dark: ["#050505", "#2e2e2e", "#7c7c7c"] };

  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  function between(stops, share) {
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const i = Math.min(Math.floor(place), stops.length - 2);
    const [a, b] = [rgb(stops[i]), rgb(stops[i + 1])];
    return a.map((value, k) => Math.round(value + (place - i) * (b[k] - value)));
  }

  // A table of 256 colours; the last one stands for no number.
  function table(stops, missing, first, last) {
    const bytes = new Uint8Array(4 * 256);
    for (let level = 0; level < 256; level++) {
      const color = level === 255 ? rgb(missing) : between(stops, first + (last - first) * (level / 254));
      bytes.set([...color, 255], 4 * level);
    }
    return bytes;
  }

  flow.css = (color) => `rgb(${color.join(",")})`;

  flow.theme = function (scene) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const missing = dark ? "#8a93a0" : "#9aa3ad";
    const style = getComputedStyle(document.documentElement);
    const named = (name) => rgb(style.getPropertyValue(name).trim());
    return {
      dark,
      ink: named("--ink"),
      ground: named("--ground"),
      clouds: scene.colors[dark ? "dark" : "light"].map(rgb),
      // The ends that would be lost against the page are left out.
      values: table(viridis, missing, dark ? 0.2 : 0, dark ? 1 : 0.93),
      surface: table(surfaces[dark ? "dark" : "light"], missing, 0, 1),
    };
  };

  flow.bar = function (bytes) {
    const stops = [0, 32, 64, 96, 128, 160, 192, 224, 254].map((l) => flow.css([...bytes.subarray(4 * l, 4 * l + 3)]));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  };
})();
