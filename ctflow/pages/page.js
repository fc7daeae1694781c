"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  for (const [name, figure] of Object.entries(figures)) {
    Plotly.newPlot(name, figure.data, figure.layout, config);
  }
  for (const button of document.querySelectorAll("button[data-figure]")) {
    button.addEventListener("click", function () {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      Plotly.restyle(button.dataset.figure, { visible: shown }, button.dataset.traces.split(" ").map(Number));
    });
  }
  // On paper the width is another one than on the screen, and folded parts are shown.
  let folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    for (const part of folded) { part.open = true; }
    for (const name of Object.keys(figures)) { Plotly.relayout(name, { width: 660, autosize: false }); }
  });
  window.addEventListener("afterprint", function () {
    for (const part of folded) { part.open = false; }
    for (const name of Object.keys(figures)) { Plotly.relayout(name, { width: null, autosize: true }); }
  });
  // A figure inside a folded part has no width until the part is opened.
  for (const part of document.querySelectorAll("details")) {
    part.addEventListener("toggle", function () {
      for (const plot of part.querySelectorAll(".plot")) { Plotly.Plots.resize(plot); }
    });
  }
})();
