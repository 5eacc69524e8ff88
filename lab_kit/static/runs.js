// The table of runs: sorted, filtered and turned page by page in the browser; all changes are asked of Python.
const PAGE = 12;
const make = (tag, names = {}, ...inside) => {
  const part = document.createElement(tag);
  for (const [name, value] of Object.entries(names)) {
    if (name.startsWith("on")) part.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) part.setAttribute(name, value === true ? "" : value);
  }
  part.append(...inside);
  if (part.matches("button, input, select")) part.setAttribute("data-lm-suppress-shortcuts", "true");
  return part;
};
const number = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toFixed(4)));

export default {
  render({ model, el }) {
    let sort = { key: "name", down: true }, filter = "", at = 0;
    const ask = (what, run, value) => model.send({ do: what, run, value });
    const button = (text, act, names = {}) => make("button", { type: "button", onclick: act, ...names }, text);
    const search = make("input", { type: "search", placeholder: "Filter runs", "aria-label": "Filter runs", oninput: () => { filter = search.value.toLowerCase(); at = 0; draw(); } });
    const undo = button("Undo delete", () => ask("undo"));
    const words = make("span", { role: "status", "aria-live": "polite", class: "words" });
    const bar = make("div", { class: "bar" }, search, undo, button("Export CSV", () => ask("export", "", "csv")),
      button("Export Parquet", () => ask("export", "", "parquet")), button("Refresh", () => ask("refresh")), words);
    const body = make("div", { class: "body" }), pages = make("div", { class: "bar" });
    el.classList.add("lab-runs");
    el.append(bar, body, pages);

    const found = () => {
      const columns = model.get("columns");
      const text = (row) => [row.title, row.name, ...columns.map((column) => `${column.label}=${row[column.key]}`)].join(" ").toLowerCase();
      const rows = model.get("rows").filter((row) => filter.split(/\s+/).every((word) => text(row).includes(word)));
      const side = sort.down ? -1 : 1;
      const value = (row) => row[sort.key] ?? (sort.down ? -Infinity : Infinity);
      const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
      return rows.sort((a, b) => b.pinned - a.pinned || side * order(value(a), value(b)));
    };
    const select = (name, on) => {
      const others = model.get("selected").filter((other) => other !== name);
      model.set("selected", on ? [...others, name] : others);
      model.save_changes();
    };
    const line = (row, columns) => {
      const shown = row.title || row.created;
      const cells = columns.map((column) => make("td", { class: [column.number ? "number" : "", row.differs.includes(column.key) ? "differs" : ""].join(" ").trim() || null },
        column.number ? number(row[column.key]) : column.key === "created" ? make("time", { title: row.created }, row.created.slice(5, 16)) : String(row[column.key] ?? "–")));
      const title = make("input", { type: "text", value: row.title, placeholder: "name it", "aria-label": `Name of run ${row.created}`, onchange: (event) => ask("name", row.name, event.target.value) });
      const tick = make("input", { type: "checkbox", "aria-label": `Compare ${shown}`, onchange: (event) => select(row.name, event.target.checked) });
      tick.checked = model.get("selected").includes(row.name);
      return make("tr", { "data-run": row.name }, make("td", {}, tick),
        make("td", {}, button(row.pinned ? "★" : "☆", () => ask("pin", row.name, !row.pinned), { "aria-label": `Pin ${shown}`, "aria-pressed": String(row.pinned) })),
        make("td", {}, title), ...cells,
        make("td", { class: "does" }, ...(row.use ? [button("Use", () => ask("use", row.name), { "aria-label": `Settings of ${shown} into the panel`, title: "Settings into the panel" })] : []),
          button("✕", () => ask("delete", row.name), { "aria-label": `Delete ${shown}`, title: "Delete" })));
    };
    const head = (column) => {
      const own = sort.key === column.key;
      const turn = () => { sort = { key: column.key, down: own ? !sort.down : false }; draw(); };
      return make("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": own ? (sort.down ? "descending" : "ascending") : "none" },
        button(column.label + (own ? (sort.down ? " ▼" : " ▲") : ""), turn));
    };
    const draw = () => {
      const focused = el.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") || document.activeElement.textContent.replace(/ [▼▲]$/, "") : null;
      const columns = model.get("columns"), rows = found(), last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
      at = Math.min(at, last);
      const top = make("tr", {}, make("th", { scope: "col" }, "Compare"), make("th", { scope: "col" }, "Pin"), head({ key: "title", label: "Name" }), ...columns.map(head), make("th", { scope: "col", "aria-label": "Actions" }));
      const page = rows.slice(at * PAGE, (at + 1) * PAGE).map((row) => line(row, columns));
      const empty = make("p", {}, model.get("rows").length ? "No run fits the filter." : "No runs yet: press Train.");
      body.replaceChildren(rows.length ? make("table", {}, make("thead", {}, top), make("tbody", {}, ...page)) : empty);
      pages.replaceChildren(...(last ? [button("Earlier page", () => { at -= 1; draw(); }, { disabled: at === 0 }), make("span", {}, `${at + 1} of ${last + 1}`),
        button("Later page", () => { at += 1; draw(); }, { disabled: at === last })] : []), make("span", {}, `${rows.length} of ${model.get("rows").length} runs`));
      undo.disabled = model.get("undo") === 0;
      words.textContent = model.get("message");
      // The table is made anew; who works with the keyboard stays where they were.
      if (focused && !el.contains(document.activeElement)) {
        [...el.querySelectorAll("button, input")].find((part) => (part.getAttribute("aria-label") || part.textContent.replace(/ [▼▲]$/, "")) === focused)?.focus();
      }
    };
    const events = "change:rows change:columns change:undo change:message change:selected";
    model.on(events, draw);
    draw();
    return () => model.off(events, draw);
  },
};
