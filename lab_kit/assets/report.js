"use strict";
// Draws the charts, follows the colour scheme of the reader, and fits the charts to paper for printing.
const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = [...document.querySelectorAll("figure.chart")].map((figure) => ({
  place: figure.querySelector("div"),
  source: figure.querySelector("script").textContent,
}));
const PAPER_WIDTH = 680; // pixels of A4 within its margins
const CONFIG = {
  responsive: true,
  displaylogo: false,
  // "Share chart" uploads the data: a report stays on the reader's machine.
  modeBarButtonsToRemove: ["sendChartToCloud", "sendDataToCloud"],
};

function inScheme(layout, isDark) {
  const style = getComputedStyle(document.documentElement);
  const template = { ...(layout.template ?? {}) };
  const base = { ...(template.layout ?? {}) };
  base.paper_bgcolor = "rgba(0,0,0,0)";
  base.font = { ...base.font, family: style.getPropertyValue("--text") };
  if (isDark) {
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    const soft = style.getPropertyValue("--soft").trim();
    const raised = style.getPropertyValue("--raised").trim();
    base.plot_bgcolor = "rgba(0,0,0,0)";
    base.font.color = ink;
    for (const axis of ["xaxis", "yaxis"])
      base[axis] = { ...base[axis], gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
    base.hoverlabel = { ...base.hoverlabel, bgcolor: raised, font: { ...base.hoverlabel?.font, color: ink } };
    base.updatemenudefaults = { bgcolor: raised, bordercolor: line, font: { color: ink } };
    base.sliderdefaults = { bgcolor: soft, bordercolor: line, activebgcolor: ink, tickcolor: soft };
  }
  template.layout = base;
  return { ...layout, template };
}

function draw({ place, source }) {
  // Parsed afresh each time: Plotly writes into what it is given.
  const { data, layout = {}, frames = [] } = JSON.parse(source);
  return Plotly.newPlot(place, { data, layout: inScheme(layout, dark.matches), frames, config: CONFIG });
}

async function drawAll() {
  for (const chart of charts) {
    await draw(chart);
    await new Promise((next) => setTimeout(next)); // the page stays responsive between two charts
  }
  document.body.dataset.drawn = "true";
}

dark.addEventListener("change", drawAll);
addEventListener("beforeprint", () => {
  for (const { place, source } of charts) {
    const { layout = {} } = JSON.parse(source);
    const light = inScheme(layout, false);
    Plotly.relayout(place, { template: light.template, width: Math.min(layout.width ?? PAPER_WIDTH, PAPER_WIDTH) });
  }
});
addEventListener("afterprint", drawAll);

const allCode = document.getElementById("all-code");
allCode.addEventListener("click", () => {
  const open = allCode.getAttribute("aria-pressed") !== "true";
  for (const details of document.querySelectorAll("details.code")) details.open = open;
  allCode.setAttribute("aria-pressed", String(open));
  allCode.textContent = open ? "Hide all code" : "Show all code";
});

drawAll();
