"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

  // ---- the runs, read from their own table: key -> what a hover says, and the presets of each task and method
  const runs = new Map();
  const presets = { task: new Map(), method: new Map(), preset: new Map() };
  const add = (map, name, preset) => map.set(name, (map.get(name) || new Set()).add(preset));
  const heads = all("#runs thead th").map((cell) => cell.textContent);
  const at = (row, name) => row.cells[heads.indexOf(name)].textContent;
  const runRows = all("#runs tbody tr");
  const { total } = document.getElementById("runs").dataset;
  const listed = total ? `${runRows.length} runs listed here, ${total} in all` : `${runRows.length} runs`;
  for (const row of runRows) {
    const [key, task, method, preset] = ["key", "task", "method", "preset"].map((name) => at(row, name));
    runs.set(key, `${key}  seed ${at(row, "seeds")}  ${at(row, "status") === "ok" ? at(row, "score") : at(row, "status")}`);
    row.dataset.preset = preset;
    add(presets.task, task, preset);
    add(presets.method, method, preset);
    add(presets.preset, preset, preset);
  }

  // ---- sorting: text by the locale, numbers by the first number of the cell and its unit; empty cells last
  const value = (text) => {
    const found = /^([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?: (KiB|MiB|GiB))?/.exec(text);
    return found ? parseFloat(found[1].replaceAll(",", "")) * (UNITS[found[2]] || 1) : null;
  };
  const order = (a, b, numeric) => {
    const blank = [a, b].map((text) => text === "" || text === "-");
    if (blank[0] || blank[1]) return null;
    return numeric ? value(a) - value(b) : a.localeCompare(b);
  };
  const sort = (table, column) => {
    const cells = all("thead th", table);
    const down = cells[column].getAttribute("aria-sort") === "ascending";
    cells.forEach((cell) => cell.removeAttribute("aria-sort"));
    cells[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row, row.cells[column].textContent]);
    const told = rows.map(([, text]) => text).filter((text) => text !== "" && text !== "-");
    const numeric = told.length > 0 && told.every((text) => value(text) !== null);
    rows.sort(([, a], [, b]) => {
      const found = order(a, b, numeric);
      if (found === null) return (a === "" || a === "-") - (b === "" || b === "-");
      return down ? -found : found;
    });
    body.append(...rows.map(([row]) => row));
  };
  for (const table of all("table:not([data-fixed])")) {
    all("thead th", table).forEach((cell, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = cell.textContent;
      button.addEventListener("click", () => sort(table, column));
      cell.replaceChildren(button);
    });
  }

  // ---- filters: rows and columns of another task, method or preset are hidden
  const form = document.getElementById("filters");
  const fits = (data, asked) => {
    for (const kind of ["task", "method"]) {
      if (data[kind] === undefined) continue;
      if (asked[kind] && data[kind] !== asked[kind]) return false;
      const known = presets[kind].get(data[kind]);
      if (asked.preset && known && !known.has(asked.preset)) return false;
    }
    return !(asked.preset && data.preset && data.preset !== asked.preset);
  };
  const tagsOf = (row) => [...row.cells].reduce((tags, cell) => ({ ...tags, ...tag(cell) }), { ...row.dataset });
  const tag = (cell) => Object.fromEntries(["task", "method"].filter((k) => cell.dataset[k]).map((k) => [k, cell.dataset[k]]));
  const filter = () => {
    const asked = Object.fromEntries(new FormData(form));
    for (const table of all("table")) {
      const shown = all("thead th", table).map((cell) => fits(tag(cell), asked));
      const columns = shown.includes(false) || table.dataset.cut;
      table.dataset.cut = shown.includes(false) ? "yes" : "";
      for (const row of table.rows) {
        if (row.parentNode.tagName !== "THEAD") row.hidden = !fits(tagsOf(row), asked);
        if (columns) [...row.cells].forEach((cell, i) => { cell.hidden = !shown[i]; });
      }
    }
    const left = runRows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${left} of ${listed}`;
  };
  for (const kind of Object.keys(presets)) {
    const names = [...presets[kind].keys()];
    form.elements[kind].append(...names.map((name) => new Option(name, name)));
  }
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  document.getElementById("count").textContent = listed;

  // ---- what a cell or a point is made of: on hover, on focus, and by the arrow keys within a table
  const tip = document.getElementById("tip");
  const points = JSON.parse(document.getElementById("points").textContent);
  // the page names a few runs only of a number that is made of many, and says how many more there are
  const split = (keys) => (typeof keys.at(-1) === "number" ? [keys.slice(0, -1), keys.at(-1)] : [keys, 0]);
  const told = (target) => {
    const cell = target.closest("[data-runs]");
    if (cell) return [cell, cell.dataset.runs.split(" "), Number(cell.dataset.more || 0)];
    const group = target.tagName === "use" ? target.closest(Object.keys(points).map((id) => "#" + CSS.escape(id)).join(",") || "x") : null;
    return group ? [target, ...split(points[group.id][all("use", group).indexOf(target)] || [])] : [null, [], 0];
  };
  const hide = () => { tip.hidden = true; all("[aria-describedby=tip]").forEach((n) => n.removeAttribute("aria-describedby")); };
  const show = (event) => {
    const [target, keys, left] = told(event.target);
    if (!target || !keys.length) return event.target !== tip && hide();
    const more = left ? [`and ${left} more`] : [];
    tip.textContent = [...keys.map((key) => runs.get(key) || key), ...more].join("\n");
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    const box = target.getBoundingClientRect();
    const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, below ? box.bottom + 6 : box.top - tip.offsetHeight - 6)}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  addEventListener("scroll", hide, { passive: true });
  for (const table of all("table")) {
    const first = table.querySelector("[data-runs]");
    if (first) first.tabIndex = 0;
  }
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const cell = event.target.closest("td, tbody th, tfoot th");
    if (!cell || !STEPS[event.key]) return;
    const rows = [...cell.closest("table").rows].filter((row) => !row.hidden);
    const [down, right] = STEPS[event.key];
    const next = rows[rows.indexOf(cell.parentNode) + down]?.cells[cell.cellIndex + right];
    if (!next || next.parentNode.parentNode.tagName === "THEAD" || next.hidden) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // ---- theme: what the system says, until the button is pressed
  const theme = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const paint = () => { theme.setAttribute("aria-pressed", dark()); };
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  if (kept()) document.documentElement.dataset.theme = kept();
  theme.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* a page opened from a file may have no store */ }
    paint();
  });
  paint();
})();
