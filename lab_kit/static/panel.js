// Four things only the page knows: its theme, how wide the chart may be (Plotly's widget keeps its first width), what
// it has painted, and which label belongs to which slider (ipywidgets names none of them).
export default {
  render({ model, el }) {
    const theme = () => {
      const { jpThemeLight } = document.body.dataset;
      const dark = jpThemeLight ? jpThemeLight === "false" : matchMedia("(prefers-color-scheme: dark)").matches;
      model.set("dark", dark);
      model.save_changes();
    };
    const name = (root) => {
      for (const row of root.querySelectorAll(".lab-controls .widget-inline-hbox")) {
        const label = row.querySelector(".widget-label")?.textContent;
        const named = row.querySelectorAll("[role=slider], .widget-readout, select, input:not([type=checkbox])");
        if (label) named.forEach((part) => part.setAttribute("aria-label", label));
        // Values of a slider are read out as they are shown (0.001), not as the handle's place on it (-3).
        const handle = row.querySelector("[role=slider]"), readout = row.querySelector(".widget-readout");
        if (handle && readout) handle.setAttribute("aria-valuetext", readout.textContent);
      }
      root.querySelectorAll(".lab-progress [role=progressbar], .lab-progress .progress").forEach((part) => {
        part.setAttribute("aria-label", "Progress of the run");
      });
      const words = root.querySelector(".lab-words");
      if (words) Object.assign(words, { role: "status", ariaLive: "polite" });
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
      const root = el.closest(".lab-panel");
      if (!root) return;
      const controls = root.querySelector(".lab-controls") ?? root;
      watch(controls, () => name(root), { childList: true, characterData: true, subtree: true });
      const place = root.querySelector(".lab-curves");
      const sized = new ResizeObserver(() => {
        clearTimeout(sizing);
        sizing = setTimeout(() => { model.set("width", Math.floor(place.clientWidth)); model.save_changes(); }, 100);
      });
      if (place) { sized.observe(place); watchers.push(sized); }
      watch(document.body, theme, { attributeFilter: ["data-jp-theme-light"] });
    };
    const paint = () => requestAnimationFrame(() => {
      model.set("painted", model.get("sent"));
      model.save_changes();
    });
    model.on("change:sent", paint);
    const waiting = setInterval(() => {
      if (el.isConnected) { clearInterval(waiting); start(); }
    }, 50);
    return () => { clearInterval(waiting); model.off("change:sent", paint); watchers.forEach((watcher) => watcher.disconnect()); };
  },
};
