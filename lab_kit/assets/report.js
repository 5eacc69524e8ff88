"use strict";
// Draws the charts, gives their sliders to the keyboard, follows the colour scheme of the reader, and fits the charts
// to paper for printing.
const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = [...document.querySelectorAll("figure.chart")].map((figure) => ({
  figure,
  place: figure.querySelector("div"),
  source: figure.querySelector("script").textContent,
}));
for (const chart of charts) chart.sliders = (JSON.parse(chart.source).layout?.sliders ?? []).map((s) => slider(chart, s));
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
    const raised = style.getPropertyValue("--raised").trim();
    base.plot_bgcolor = "rgba(0,0,0,0)";
    base.font.color = ink;
    for (const axis of ["xaxis", "yaxis"])
      base[axis] = { ...base[axis], gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
    base.hoverlabel = { ...base.hoverlabel, bgcolor: raised, font: { ...base.hoverlabel?.font, color: ink } };
    base.updatemenudefaults = { bgcolor: raised, bordercolor: line, font: { color: ink } };
  }
  template.layout = base;
  return { ...layout, template };
}

// A slider of Plotly as the browser's own, which has a name, a value in words, and the keyboard.
function slider({ figure, place }, { steps = [], active = 0, currentvalue: { prefix = "", suffix = "" } = {} }) {
  const input = document.createElement("input");
  const shown = document.createElement("span");
  const name = prefix.replace(/[\s:=]+$/, "") || "Position";
  Object.assign(input, { type: "range", min: 0, max: Math.max(steps.length - 1, 0), step: 1, value: active });
  input.setAttribute("aria-label", name);
  const say = () => {
    const words = (steps[input.value]?.label ?? input.value) + suffix;
    input.setAttribute("aria-valuetext", words);
    shown.textContent = `${name} ${words}`;
  };
  const move = () => {
    const { method, args = [] } = steps[input.value] ?? {};
    // A position that the next one overtakes is dropped, and Plotly calls that an error.
    if (["animate", "restyle", "relayout", "update"].includes(method)) Plotly[method](place, ...args).catch(() => {});
  };
  input.addEventListener("input", () => { say(); move(); });
  say();
  const row = document.createElement("label");
  row.className = "slider";
  row.append(shown, input);
  figure.append(row);
  return { hasMoved: () => input.value !== String(active), move };
}

async function draw({ place, source, sliders }) {
  // Parsed afresh each time: Plotly writes into what it is given.
  const { data, layout = {}, frames = [] } = JSON.parse(source);
  for (const each of layout.sliders ?? []) each.visible = false; // the browser's own stands below the chart
  await Plotly.newPlot(place, { data, layout: inScheme(layout, dark.matches), frames, config: CONFIG });
  for (const each of sliders) if (each.hasMoved()) each.move(); // drawn again, a chart shows what its slider says
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
