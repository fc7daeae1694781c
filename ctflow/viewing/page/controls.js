"use strict";
// Buttons, slider, keys, and the legend.
(function () {
  const TURN = 0.12;

  // The player: which step is shown, and playing. `show(index)` draws it.
  flow.player = function (length, show) {
    const [play, slider, speed] = ["play", "frame", "speed"].map((id) => document.getElementById(id));
    const player = { index: 0, playing: false };
    let started = 0, from = 0;

    player.go = function (index) {
      player.index = Math.min(Math.max(index, 0), length - 1);
      if (slider) { slider.value = player.index; }
      show(player.index);
    };
    player.toggle = function (on = !player.playing) {
      if (!play) { return; }
      player.playing = on;
      play.textContent = on ? "Pause" : "Play";
      play.setAttribute("aria-pressed", String(on));
      if (!on) { return; }
      if (player.index === length - 1) { player.go(0); }
      started = performance.now();
      from = player.index;
      requestAnimationFrame(tick);
    };
    function tick(now) {
      if (!player.playing) { return; }
      const index = from + Math.floor((Math.max(now - started, 0) / 1000) * Number(speed.value));
      if (index !== player.index) { player.go(index); }
      if (player.index >= length - 1) { player.toggle(false); } else { requestAnimationFrame(tick); }
    }
    if (play) {
      slider.max = length - 1;
      play.addEventListener("click", () => player.toggle());
      slider.addEventListener("input", function () { player.toggle(false); player.go(Number(slider.value)); });
      speed.addEventListener("change", function () { started = performance.now(); from = player.index; });
    }
    return player;
  };

  flow.keys = function (player, camera) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 };
    const turns = { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, -TURN], ArrowDown: [0, TURN] };
    const others = {
      "+": () => camera.scale(1.15), "=": () => camera.scale(1.15), "-": () => camera.scale(1 / 1.15), "0": camera.reset,
      Home: () => player.go(0), End: () => player.go(Infinity), " ": () => player.toggle(),
    };
    document.addEventListener("keydown", function (event) {
      const kind = event.target.tagName;
      if (event.ctrlKey || event.altKey || event.metaKey || kind === "SELECT") { return; }
      if (event.key === " " && (kind === "BUTTON" || kind === "SUMMARY")) { return; }  // it presses them
      if (event.key in turns && event.shiftKey) {
        camera.rotate(...turns[event.key]);
      } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") || (event.key in steps && kind === "INPUT")) {
        player.toggle(false);
        player.go(player.index + steps[event.key]);
      } else if (event.key in others) {
        if (event.key === "Home" || event.key === "End") { player.toggle(false); }
        others[event.key]();
      } else {
        return;
      }
      event.preventDefault();
    });
  };

  function entry(parent, kind, style, text) {
    const item = document.createElement("span");
    const mark = document.createElement("i");
    item.className = kind;
    Object.assign(mark.style, style);
    item.append(mark, text);
    parent.append(item);
  }

  function scale(parent, bytes, { name, low, high }) {
    entry(parent, "scale", {}, "");
    const item = parent.lastChild, bar = item.firstChild;
    bar.style.background = flow.bar(bytes);
    item.replaceChildren(`${name.replaceAll("_", " ")} ${flow.number(low)} `, bar, ` ${flow.number(high)}`);
  }

  flow.legend = function (scene, mode, theme) {
    const parent = document.getElementById("legend");
    parent.replaceChildren();
    if (mode < 0) {
      scene.runs[0].names.forEach(function (name, i) {
        entry(parent, "cloud", { background: flow.css(theme.clouds[i % theme.clouds.length]) }, name);
      });
    } else {
      scale(parent, theme.values, scene.modes[mode]);
      const some = scene.runs.some((run) => run.fields[mode].some((part) => !part));
      if (some) { entry(parent, "cloud", { background: flow.css([...theme.values.subarray(1020, 1023)]) }, "no number"); }
    }
    if (scene.surface) { scale(parent, theme.surface, { ...scene.surface, name: `surface: ${scene.surface.name}` }); }
  };
})();
