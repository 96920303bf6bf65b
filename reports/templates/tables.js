// Sorting, paging, filtering and copying of the tables, with DataTables. A table is set up when its section opens.
const LONG_TABLE = 30;
const PAPER_COLUMNS = 20; // a table of more is printed smaller
const PAGE_SIZES = [25, 100, -1];
const isEmpty = (value) => value === "" || value === null;
const compare = (sign) => (a, b) => (isEmpty(a) || isEmpty(b) ? isEmpty(a) - isEmpty(b) : sign * (a - b));
const toNumber = (value) => (isEmpty(value) ? "" : Number(value));
const compareTexts = (sign) => (a, b) => (isEmpty(a) || isEmpty(b) ? isEmpty(a) - isEmpty(b) : sign * a.localeCompare(b, undefined, { numeric: true }));
DataTable.type("number", { order: { pre: toNumber, asc: compare(1), desc: compare(-1) } });
DataTable.type("text", { order: { pre: (html) => String(html).replace(/<[^>]*>/g, "").trim(), asc: compareTexts(1), desc: compareTexts(-1) } });
const TABLES = new Map();

const readNames = (row) => {
  const names = {};
  for (const cell of row.cells) {
    for (const kind of KINDS) if (cell.dataset[kind] !== undefined) names[kind] = cell.dataset[kind];
  }
  return names;
};
const isRowShown = (row) => (query === "" || row.textContent.toLowerCase().includes(query)) && isShown(readNames(row));

const filterTable = (table) => {
  const api = TABLES.get(table);
  api.columns().every(function () {
    const { task, method } = this.header().dataset;
    const isVisible = isShown({ ...(task && { task }), ...(method && { method }) });
    if (this.visible() !== isVisible) this.visible(isVisible, false);
  });
  api.draw();
};

// ---- copying: the rows and columns that are shown, in the order shown
const readShown = (table) => {
  const api = TABLES.get(table);
  const rows = [table.tHead.rows[0], ...api.rows({ search: "applied", order: "applied" }).nodes().toArray(), ...(table.tFoot?.rows || [])];
  return rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim().replace(/\s+/g, " ")));
};
const escapeLatex = (text) =>
  text.replace(/[\\&%$#_{}~^]/g, (sign) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[sign] || `\\${sign}`)
    .replaceAll("±", "$\\pm$");
const escapeCsv = (text) => {
  // a spreadsheet would run such text as a formula; signed numbers stay
  const safe = /^[=@\t]|^[+-](?![\d.])/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const WRITERS = {
  Markdown: ([head, ...rows]) => {
    const line = (cells) => `| ${cells.map((cell) => cell.replace(/[\\|`*_<]/g, "\\$&")).join(" | ")} |`;
    return [line(head), `|${head.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
  },
  CSV: (rows) => rows.map((cells) => cells.map(escapeCsv).join(",")).join("\n"),
  LaTeX: ([head, ...rows]) => {
    const line = (cells) => `${cells.map(escapeLatex).join(" & ")} \\\\`;
    return [`\\begin{tabular}{l${"r".repeat(head.length - 1)}}`, "\\toprule", line(head), "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}"].join("\n");
  },
};
const putOnClipboard = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a page that the browser takes for insecure
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
};
const addCopyButtons = (holder, table) => {
  const tools = document.createElement("div");
  tools.className = "tools";
  const label = document.createElement("span");
  label.textContent = "Copy as";
  const buttons = Object.entries(WRITERS).map(([name, write]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.setAttribute("aria-label", `Copy ${table.caption.textContent} as ${name}`);
    button.addEventListener("click", async () => {
      const rows = readShown(table);
      await putOnClipboard(`${write(rows)}\n`);
      byId("said").textContent = `Copied ${rows.length - 1} rows as ${name}.`;
      button.dataset.done = "";
      setTimeout(() => delete button.dataset.done, 1500);
    });
    return button;
  });
  tools.append(label, ...buttons);
  (holder.querySelector(".scroll + .dt-layout-row") || holder.querySelector(".scroll")).after(tools);
};

const setUpTable = (holder) => {
  const table = holder.querySelector("table");
  if (TABLES.has(table)) return;
  const heads = [...table.tHead.rows[0].cells];
  const isLong = Number(holder.dataset.rows) > LONG_TABLE && !table.classList.contains("ranking");
  const api = new DataTable(table, {
    autoWidth: false,
    info: isLong,
    lengthMenu: PAGE_SIZES.map((size) => (size < 0 ? { label: "all", value: size } : size)),
    layout: { topStart: null, topEnd: null, bottomStart: isLong ? ["pageLength", "info"] : null, bottomEnd: isLong ? "paging" : null },
    columnDefs: heads.map((head, column) => ({ targets: column, type: head.classList.contains("n") ? "number" : "text" })),
    order: [],
    ordering: table.dataset.fixed === undefined,
    orderMulti: false,
    pageLength: PAGE_SIZES[0],
    paging: isLong,
    stripeClasses: [],
    language: { entries: { _: "rows", 1: "row" }, info: "_START_ to _END_ of _TOTAL_ rows", infoEmpty: "no rows", infoFiltered: "of _MAX_", lengthMenu: "Rows per page _MENU_", zeroRecords: "No row matches the filters." },
  });
  TABLES.set(table, api);
  api.search.fixed("filters", (_text, _data, index) => isRowShown(api.row(index).node()));
  const namePages = () => holder.querySelector(".dt-paging nav")?.setAttribute("aria-label", `Pages of ${table.caption.textContent}`);
  api.on("draw", namePages);
  namePages();
  // page controls stay in sight below the area that scrolls
  const controls = holder.querySelector(".dt-layout-row:has(.dt-info)");
  if (controls) holder.querySelector(".scroll").after(controls);
  addCopyButtons(holder, table);
  const first = table.querySelector("tbody [data-runs]");
  if (first) first.tabIndex = 0;
  if (isFiltered()) filterTable(table);
};

// ---- a folded section says how many of its rows match the search
const countHits = () => {
  for (const section of all("details.section")) {
    const tables = all("table", section);
    const hits = tables.flatMap((table) => (TABLES.has(table) ? TABLES.get(table).rows().nodes().toArray() : [...table.tBodies[0].rows])).filter(isRowShown);
    section.querySelector(".hits").textContent = query === "" ? "" : `${hits.length} ${hits.length === 1 ? "row" : "rows"}`;
  }
};
const addTables = () => {
  all(".first .table").forEach(setUpTable);
  for (const section of all("details.section")) {
    const setUp = () => section.open && all(".table", section).forEach(setUpTable);
    section.addEventListener("toggle", setUp);
    setUp();
  }
  document.addEventListener("filters", () => {
    all("table[style*=zoom]").forEach((table) => { table.style.zoom = ""; });
    [...TABLES.keys()].forEach(filterTable);
    countHits();
  });
  document.addEventListener("printing", () => {
    all("details.section[data-print] .table").forEach(setUpTable);
    for (const table of all(".table table:not(.ranking)")) {
      const columns = table.tHead.rows[0].cells.length;
      table.style.zoom = columns > PAPER_COLUMNS ? PAPER_COLUMNS / columns : "";
    }
  });
};
