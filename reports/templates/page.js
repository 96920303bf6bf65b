"use strict";
// What all parts of the page share: the data, the filters, the theme, folding, printing, and what a number is made of.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("numbers").textContent);
// Python rounds exact halves to even and toFixed does not; the only halves of tenths that a double holds end in .25
const points = (x) => (Math.abs(x) % 1 === 0.25 ? Math.sign(x) * (Math.abs(x) - 0.05) : x).toFixed(1);
const shorten = (name, most = 26) =>
  name.length <= most ? name : `${name.slice(0, Math.ceil(most * 0.6))}…${name.slice(-Math.floor(most * 0.4) + 1)}`;

const RUNS = Object.values(DATA).flatMap((suite) =>
  suite.runs.map(([task, method, preset, seeds, score, key, status, collapsed]) => ({
    task: suite.tasks[task],
    method: suite.methods[method],
    preset: suite.presets[preset],
    seeds,
    score,
    key,
    status,
    collapsed,
  })),
);

// ---- filters: names that are unchecked are hidden in every table and chart
const KINDS = ["task", "method", "preset"];
const HIDDEN = Object.fromEntries(KINDS.map((kind) => [kind, new Set()]));
const NAMES = Object.fromEntries(KINDS.map((kind) => [kind, [...new Set(RUNS.map((run) => run[kind]))]]));
const PRESETS = Object.fromEntries(["task", "method"].map((kind) => [kind, new Map()]));
for (const run of RUNS) {
  for (const [kind, presets] of Object.entries(PRESETS)) {
    presets.set(run[kind], (presets.get(run[kind]) || new Set()).add(run.preset));
  }
}
let query = "";
const isFiltered = () => query !== "" || KINDS.some((kind) => HIDDEN[kind].size > 0);
// a table of tuning says 'lora [bf16]' where the whole run has one precision
const findName = (kind, name) => (NAMES[kind].includes(name) ? name : name.replace(/ \[.*\]$/, ""));
const isNameShown = (kind, given) => {
  const name = findName(kind, given);
  if (HIDDEN[kind].has(name)) return false;
  const presets = PRESETS[kind]?.get(name);
  return !presets || HIDDEN.preset.size === 0 || [...presets].some((preset) => !HIDDEN.preset.has(preset));
};
const isShown = (names) => KINDS.every((kind) => names[kind] === undefined || isNameShown(kind, names[kind]));

const describeFilters = () => {
  const shown = RUNS.filter(isShown).length;
  byId("count").textContent = isFiltered() ? `${shown} of ${RUNS.length} runs; means stay over all` : "";
  byId("reset").hidden = !isFiltered();
  for (const menu of all("#menus details")) {
    const { kind } = menu.dataset;
    const left = NAMES[kind].length - HIDDEN[kind].size;
    menu.querySelector("summary").textContent =
      HIDDEN[kind].size === 0 ? `All ${kind}s` : `${left} of ${NAMES[kind].length} ${kind}s`;
  }
};
const applyFilters = () => {
  describeFilters();
  all("figure.static .unfiltered").forEach((note) => { note.hidden = !isFiltered(); });
  document.dispatchEvent(new Event("filters"));
};

const addMenu = (kind) => {
  const menu = document.createElement("details");
  menu.className = "menu";
  menu.dataset.kind = kind;
  const summary = document.createElement("summary");
  const list = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.className = "vh";
  legend.textContent = `Show ${kind}s`;
  const none = document.createElement("button");
  none.type = "button";
  none.textContent = "None";
  const every = none.cloneNode();
  every.textContent = "All";
  const boxes = NAMES[kind].map((name) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = name;
    label.append(box, ` ${name}`);
    list.append(label);
    return box;
  });
  const read = () => {
    HIDDEN[kind] = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    applyFilters();
  };
  const check = (value) => {
    boxes.forEach((box) => { box.checked = value; });
    read();
  };
  none.addEventListener("click", () => check(false));
  every.addEventListener("click", () => check(true));
  list.addEventListener("change", read);
  list.prepend(legend, every, none);
  menu.append(summary, list);
  byId("menus").append(menu);
};

const addFilters = () => {
  KINDS.filter((kind) => NAMES[kind].length > 1).forEach(addMenu);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", (event) => {
    query = event.target.value.trim().toLowerCase();
    applyFilters();
  });
  byId("reset").addEventListener("click", () => {
    all("#menus input").forEach((box) => { box.checked = true; });
    KINDS.forEach((kind) => HIDDEN[kind].clear());
    byId("search").value = query = "";
    applyFilters();
    byId("search").focus();
  });
  // one menu is open at a time, and a click elsewhere or Escape closes it
  document.addEventListener("click", (event) => {
    all("details.menu[open]").filter((menu) => !menu.contains(event.target)).forEach((menu) => { menu.open = false; });
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  byId("filters").hidden = false;
  describeFilters();
};

// ---- the runs that a number is made of: on hover, on focus, and by the arrow keys within a table
const tip = byId("tip");
const describeRun = (run) =>
  `${run.key}  seed ${run.seeds}  ${run.status === "ok" && run.score !== null ? points(run.score) : run.status}${run.collapsed ? "  collapsed" : ""}`;
const hideTip = () => {
  tip.hidden = true;
  all("[aria-describedby=tip]").forEach((node) => node.removeAttribute("aria-describedby"));
};
const showTip = (event) => {
  const cell = event.target.closest?.("[data-runs]");
  if (!cell) return event.target === tip ? undefined : hideTip();
  const more = cell.dataset.more ? [`and ${cell.dataset.more} more`] : [];
  tip.textContent = [...cell.dataset.runs.split(" ").map((number) => describeRun(RUNS[number])), ...more].join("\n");
  tip.hidden = false;
  cell.setAttribute("aria-describedby", "tip");
  const box = cell.getBoundingClientRect();
  const isBelow = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, isBelow ? box.bottom + 6 : box.top - tip.offsetHeight - 6)}px`;
};
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const moveInTable = (event) => {
  if (event.key === "Escape") return hideTip();
  const cell = event.target.closest?.("td, tbody th, tfoot th");
  if (!cell || !STEPS[event.key]) return undefined;
  const rows = [...cell.closest("table").rows];
  const [down, right] = STEPS[event.key];
  const next = rows[rows.indexOf(cell.parentNode) + down]?.cells[cell.cellIndex + right];
  if (!next || next.closest("thead")) return undefined;
  event.preventDefault();
  cell.tabIndex = -1;
  next.tabIndex = 0;
  return next.focus();
};
const addTips = () => {
  document.addEventListener("pointerover", showTip);
  document.addEventListener("focusin", showTip);
  document.addEventListener("focusout", hideTip);
  document.addEventListener("keydown", moveInTable);
  addEventListener("scroll", hideTip, { passive: true, capture: true });
};

// ---- theme: that of the system until the button is pressed
const addTheme = () => {
  const button = byId("theme");
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const say = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", say);
  if (stored()) root.dataset.theme = stored();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a page opened from disk may have no storage */ }
    say();
  });
  say();
};

// ---- folding: links open their section; printing opens what is to be printed
const addFolding = () => {
  const sections = all("details.section");
  const button = byId("unfold");
  const openTarget = () => {
    const section = sections.find((one) => `#${one.id}` === location.hash);
    if (section) section.open = true;
  };
  const say = () => { button.textContent = sections.every((section) => section.open) ? "Close all" : "Open all"; };
  button.hidden = sections.length === 0;
  button.addEventListener("click", () => {
    const open = !sections.every((section) => section.open);
    sections.forEach((section) => { section.open = open; });
  });
  sections.forEach((section) => section.addEventListener("toggle", say));
  addEventListener("hashchange", openTarget);
  openTarget();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = sections.filter((section) => section.dataset.print !== undefined && !section.open);
    closed.forEach((section) => { section.open = true; });
    document.dispatchEvent(new Event("printing"));
  });
  addEventListener("afterprint", () => {
    closed.forEach((section) => { section.open = false; });
    document.dispatchEvent(new Event("filters"));
  });
};
