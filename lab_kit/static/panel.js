// Things only the page knows: its theme, how wide the chart may be (Plotly's widget keeps its first width), what it has
// painted, and which label belongs to which control (ipywidgets names none of them).
const REPORTS = ["_js2py_traceDeltas", "_js2py_widget_layoutDelta"];
const hushed = new WeakSet();

export default {
  render({ model, el }) {
    const theme = () => {
      const { jpThemeLight } = document.body.dataset;
      const dark = jpThemeLight ? jpThemeLight === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
      model.set("dark", dark);
      model.save_changes();
    };
    const set = (part, names) => {
      for (const [name, value] of Object.entries(names)) if (part.getAttribute(name) !== value) part.setAttribute(name, value);
    };
    const name = (root) => {
      for (const label of root.querySelectorAll(".widget-inline-hbox > .widget-label")) {
        const row = label.closest(".lab-row") ?? label.parentElement, text = label.textContent;
        if (!text) continue;
        const value = row.querySelector(".lab-number input")?.placeholder;
        for (const part of row.querySelectorAll("[role=slider], select, input:not([type=checkbox])")) {
          set(part, { "aria-label": part.matches(".lab-number input") ? `${text}, value` : text });
          // A slider is read out as its value (0.001), not as the handle's place on it (-3).
          if (value !== undefined && part.matches("[role=slider]")) set(part, { "aria-valuetext": value });
        }
      }
      for (const fold of root.querySelectorAll("button.lab-fold")) {
        set(fold, { "aria-expanded": String(fold.classList.contains("mod-active")) });
      }
      for (const button of root.querySelectorAll(".lab-view button")) {
        set(button, { "aria-pressed": String(button.classList.contains("mod-active")) });
      }
      root.querySelectorAll(".widget-play").forEach((play) => {
        play.querySelectorAll("button").forEach((part, k) => set(part, { "aria-label": ["Play or pause", "Back to the start", "Repeat"][k] }));
      });
      for (const part of root.querySelectorAll("button, select, input, [role=slider], summary")) {
        set(part, { "data-lm-suppress-shortcuts": "true" }); // else JupyterLab takes Enter and the arrows
      }
      root.querySelectorAll(".lab-progress [role=progressbar], .lab-progress .progress").forEach((part) => {
        set(part, { "aria-label": "Progress of the run" });
      });
      root.querySelectorAll(".lab-words, .lab-refusal").forEach((part) => set(part, { role: "status", "aria-live": "polite" }));
    };
    const watchers = [];
    let sizing = 0;
    const watch = (node, act, options) => {
      const watcher = new MutationObserver(act);
      watcher.observe(node, options);
      watchers.push(watcher);
      act();
    };
    const start = () => {
      const root = el.closest(".lab-panel, .lab-compare");
      if (!root) return;
      const shape = { childList: true, characterData: true, subtree: true, attributeFilter: ["class", "placeholder", "aria-valuetext"] };
      for (const part of root.querySelectorAll(".lab-controls, .lab-look, .lab-state")) {
        let waits = false; // several changes come together; the slider writes its place there, and is set right again
        watch(part, () => { if (!waits) { waits = true; setTimeout(() => { waits = false; name(part); }, 60); } }, shape);
      }
      const place = root.querySelector(".lab-curves");
      const sized = new ResizeObserver(() => {
        clearTimeout(sizing);
        sizing = setTimeout(() => { model.set("width", Math.floor(place.clientWidth)); model.save_changes(); }, 100);
      });
      if (place) { sized.observe(place); watchers.push(sized); }
      watch(document.body, theme, { attributeFilter: ["data-jp-theme-light"] });
    };
    // Plotly's widget reports to Python, twice, each change it has drawn. Nobody reads that, but JupyterLab turns its icon
    // four times for it, and asks the server for the icon each time.
    const hush = async () => {
      for (const id of model.get("charts")) {
        const chart = await model.widget_manager.get_model(id), sync = chart.sync;
        if (hushed.has(chart)) continue;
        hushed.add(chart);
        chart.sync = function (method, of, options) {
          REPORTS.forEach((name) => delete options?.attrs?.[name]);
          return sync.call(this, method, of, options);
        };
      }
    };
    const paint = () => requestAnimationFrame(() => {
      model.set("painted", model.get("sent"));
      model.save_changes();
    });
    model.on("change:sent", paint);
    model.on("change:charts", hush);
    hush();
    const waiting = setInterval(() => {
      if (el.isConnected) { clearInterval(waiting); start(); }
    }, 50);
    return () => { clearInterval(waiting); model.off("change:sent", paint); model.off("change:charts", hush); watchers.forEach((watcher) => watcher.disconnect()); };
  },
};
