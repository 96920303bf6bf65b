// Sorting, search and menus for the tables of the board, with DataTables. Without scripts they are plain tables.
const PAGE_LENGTH = 50;
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const splitNames = (cell) => cell.textContent.split(", ").map((name) => name.trim());

const addMenu = (holder, table, api, column) => {
  const name = table.tHead.rows[0].cells[column].textContent.trim();
  const values = [...new Set([...table.tBodies[0].rows].flatMap((row) => splitNames(row.cells[column])))].filter(Boolean).sort();
  if (values.length < 2) return null;
  const label = document.createElement("label");
  const menu = document.createElement("select");
  for (const value of ["", ...values]) menu.append(new Option(value || "all", value));
  label.append(name, menu);
  holder.append(label);
  menu.addEventListener("change", () => api.draw());
  return (row) => menu.value === "" || splitNames(row.cells[column]).includes(menu.value);
};

const setUpTable = (part) => {
  const table = part.querySelector("table");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const filters = heads.map((head) => head.hasAttribute("data-filter"));
  const holder = part.querySelector(".filters");
  const isLong = table.tBodies[0].rows.length > PAGE_LENGTH;
  const rows = [...table.tBodies[0].rows];
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Search";
  search.setAttribute("aria-label", `Search ${table.caption.textContent}`);
  const tests = [];
  const makeApi = () => new DataTable(table, {
    autoWidth: false,
    columnDefs: heads.map((head, column) => ({ targets: column, type: head.classList.contains("n") ? "num" : "string" })),
    info: isLong,
    layout: { topStart: null, topEnd: null, bottomStart: isLong ? "info" : null, bottomEnd: isLong ? "paging" : null },
    order: [],
    orderMulti: false,
    pageLength: PAGE_LENGTH,
    paging: isLong,
    language: { info: "_START_ to _END_ of _TOTAL_ rows", infoEmpty: "no rows", infoFiltered: "of _MAX_", zeroRecords: "No row matches." },
  });
  const menus = document.createDocumentFragment();
  menus.append(search);
  const proxy = { draw: () => api.draw() };
  heads.forEach((_, column) => {
    const test = filters[column] ? addMenu(menus, table, proxy, column) : null;
    if (test) tests.push(test);
  });
  const api = makeApi();
  api.search.fixed("menus", (_text, _data, index) => {
    const row = api.row(index).node();
    return row.textContent.toLowerCase().includes(search.value.toLowerCase()) && tests.every((test) => test(row));
  });
  search.addEventListener("input", () => api.draw());
  if (rows.length > 1) {
    holder.append(menus);
    holder.hidden = false;
  }
};

// ---- any two runs: the page of their comparison, or the command that compares them
const setUpChooser = (form) => {
  const links = new Map(all("tr[data-a]").map((row) => [`${row.dataset.a}\n${row.dataset.b}`, row.querySelector("td:last-child a").href]));
  const names = [...new Set(all("tr[data-a]").flatMap((row) => [row.dataset.a, row.dataset.b]))].sort();
  if (names.length < 2) return;
  const [before, after] = all("select", form);
  const chosen = form.querySelector("output");
  for (const menu of [before, after]) for (const name of names) menu.append(new Option(name, name));
  const show = () => {
    const link = links.get(`${before.value}\n${after.value}`) || links.get(`${after.value}\n${before.value}`);
    chosen.replaceChildren();
    if (before.value === after.value) return;
    const part = document.createElement(link ? "a" : "code");
    if (link) part.href = link;
    part.textContent = link ? "open the comparison" : `python -m harness compare ${before.value} ${after.value}`;
    chosen.append(part);
  };
  const [first] = all("tr[data-a]");
  [before.value, after.value] = [first.dataset.a, first.dataset.b];
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
};

const chooser = document.getElementById("chooser");
if (chooser) setUpChooser(chooser);
all(".table").forEach(setUpTable);
