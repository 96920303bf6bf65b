// The charts of the folded sections; most are small multiples by task.
const facet = (suite, rows, build) => {
  const grid = document.createElement("div");
  grid.className = "facets";
  const shown = showTasks(suite);
  suite.tasks.forEach((task, t) => {
    const ofTask = rows.filter((row) => row.t === t);
    if (!shown[t] || ofTask.length === 0) return;
    const panel = document.createElement("div");
    const title = document.createElement("p");
    title.textContent = task;
    panel.append(title, build(ofTask, t));
    grid.append(panel);
  });
  return grid.children.length ? grid : null;
};
const panelWidth = (width) => (width < 560 ? width : Math.floor((width - 32) / Math.max(1, Math.min(3, Math.floor(width / 340)))) - 8);

const drawScores = (figure, suite, width) => {
  const shown = showMethods(suite), size = panelWidth(width);
  const means = suite.means.map(([t, method, value, low, high]) => ({ t, name: suite.methods[method], method, value, low, high }));
  const rows = means.filter((row) => shown[row.method]);
  return facet(suite, rows, (ofTask, t) => {
    const sorted = [...ofTask].sort((a, b) => b.value - a.value);
    const runs = suite.runs.filter((run) => run[0] === t && run[4] !== null && shown[run[1]]).map((run) => ({ name: suite.methods[run[1]], score: run[4] }));
    return plot(figure, {
      width: size,
      height: 46 + 18 * sorted.length,
      marginLeft: marginFor(sorted.map((row) => row.name), SHORT),
      marginTop: 6,
      x: { label: null, ticks: 4, grid: true, nice: true },
      y: { label: null, domain: sorted.map((row) => row.name), tickFormat: (name) => shorten(name, SHORT), tickSize: 0 },
      marks: [
        suite.majority[t] === null ? null : Plot.ruleX([suite.majority[t]], { stroke: SOFT, strokeDasharray: "1 3" }),
        Plot.dot(runs, { x: "score", y: "name", r: 2, fill: SOFT, fillOpacity: 0.45, dy: 5 }),
        Plot.ruleY(sorted.filter((row) => row.low !== null), { x1: "low", x2: "high", y: "name", stroke: (row) => (row.method === suite.baseline ? BASE : ACCENT), strokeWidth: 1.5 }),
        Plot.dot(sorted, { x: "value", y: "name", r: 3, fill: (row) => (row.method === suite.baseline ? BASE : ACCENT), title: (row) => `${row.name}\n${spread([row.value, row.low, row.high])}`, tip: true }),
      ],
    });
  });
};

const drawDifferences = (figure, suite, width) => {
  const shown = showMethods(suite), tasks = showTasks(suite);
  const places = [AVERAGE, ...suite.tasks.keys()].filter((place) => place === AVERAGE || tasks[place]);
  const rows = suite.differences
    .filter(([place, method, first]) => first === suite.baseline && shown[method] && places.includes(place))
    .map(([place, method, , value, low, high, verdict]) => ({ place, method: suite.methods[method], value, low, high, verdict }));
  if (rows.length === 0) return null;
  const grid = document.createElement("div");
  grid.className = "facets";
  const size = panelWidth(width);
  const colour = (row) => (row.verdict === "better" ? "var(--good)" : row.verdict === "worse" ? "var(--bad)" : SOFT);
  for (const place of places) {
    const ofPlace = rows.filter((row) => row.place === place);
    if (ofPlace.length === 0) continue;
    const panel = document.createElement("div");
    const title = document.createElement("p");
    title.textContent = place === AVERAGE ? suite.average : suite.tasks[place];
    panel.append(title, plot(figure, {
      width: size,
      height: 46 + 18 * ofPlace.length,
      marginLeft: marginFor(ofPlace.map((row) => row.method), SHORT),
      marginTop: 6,
      x: { label: null, ticks: 4, grid: true, nice: true },
      y: { label: null, domain: ofPlace.map((row) => row.method), tickFormat: (name) => shorten(name, SHORT), tickSize: 0 },
      marks: [
        Plot.ruleX([0], { stroke: INK }),
        Plot.ruleY(ofPlace.filter((row) => row.low !== null), { x1: "low", x2: "high", y: "method", stroke: colour, strokeWidth: 1.5 }),
        Plot.dot(ofPlace, { x: "value", y: "method", r: 3, fill: colour, title: (row) => `${row.method}\n${row.value < 0 ? "" : "+"}${spread([row.value, row.low, row.high])}\n${row.verdict}`, tip: true }),
      ],
    }));
    grid.append(panel);
  }
  return grid;
};

const drawHeatMap = (figure, suite, width) => {
  const shown = showMethods(suite), tasks = showTasks(suite);
  const rows = suite.differences
    .filter(([place, method, first]) => place !== AVERAGE && first === suite.baseline && shown[method] && tasks[place])
    .map(([place, method, , value, , , verdict]) => ({ task: suite.tasks[place], method: suite.methods[method], value, verdict }));
  if (rows.length === 0) return null;
  const limit = d3.max(rows, (row) => Math.abs(row.value)) || 1;
  const names = [...new Set(rows.map((row) => row.method))];
  const count = new Set(rows.map((row) => row.task)).size;
  return plot(figure, {
    width: Math.min(width, marginFor(names) + 40 + 84 * count),
    height: 40 + ROW_HEIGHT * names.length,
    marginLeft: marginFor(names),
    marginTop: 28,
    x: { label: null, axis: "top", tickSize: 0, tickFormat: (name) => shorten(name, 12), domain: suite.tasks.filter((_, t) => tasks[t]) },
    y: { label: null, domain: names, tickFormat: (name) => shorten(name), tickSize: 0 },
    color: { type: "linear", domain: [-limit, 0, limit], range: ["#b35806", "#f7f7f7", "#542788"] },
    marks: [
      Plot.cell(rows, { x: "task", y: "method", fill: "value", inset: 0.5, title: (row) => `${row.method} on ${row.task}\n${row.value < 0 ? "" : "+"}${points(row.value)}: ${row.verdict}`, tip: true }),
      Plot.text(rows, { x: "task", y: "method", text: (row) => `${row.value < 0 ? "" : "+"}${points(row.value)}`, fill: (row) => (Math.abs(row.value) > 0.55 * limit ? "#fff" : "#111") }),
    ],
  });
};

const drawSeeds = (figure, suite, width) => {
  const shown = showMethods(suite);
  const runs = suite.runs.filter((run) => run[4] !== null && shown[run[1]])
    .map(([t, method, , seeds, value, key, , collapsed]) => ({ t, name: suite.methods[method], value, seeds, key, collapsed }));
  const size = panelWidth(width);
  return facet(suite, runs, (ofTask, t) => {
    const names = suite.methods.filter((_, m) => shown[m]);
    return plot(figure, {
      width: size,
      height: 46 + 16 * names.length,
      marginLeft: marginFor(names, SHORT),
      marginTop: 6,
      x: { label: null, ticks: 4, grid: true, nice: true },
      y: { label: null, domain: names, tickFormat: (name) => shorten(name, SHORT), tickSize: 0 },
      marks: [
        suite.majority[t] === null ? null : Plot.ruleX([suite.majority[t]], { stroke: SOFT, strokeDasharray: "1 3" }),
        Plot.dot(ofTask, { x: "value", y: "name", r: 3, symbol: (run) => (run.collapsed ? "times" : "circle"), stroke: (run) => (run.collapsed ? "var(--bad)" : ACCENT), strokeOpacity: 0.8, title: (run) => `${run.name}, seed ${run.seeds}\n${points(run.value)}${run.collapsed ? ", collapsed" : ""}\n${run.key}`, tip: true }),
      ],
      symbol: { type: "identity" },
    });
  });
};

// ---- curves: each method has a colour while few are shown, else only those that matter stand out
const colourOf = (suite, shown) => {
  const names = suite.methods.filter((_, m) => shown[m]);
  if (names.length <= MAX_COLOURS) return { names, of: (name) => `var(--c${names.indexOf(name)})`, width: () => 1.5 };
  const base = suite.methods[suite.baseline];
  const best = suite.methods[suite.ranking[0]?.method ?? 0];
  const marked = [...new Set([base, best])].filter((name) => names.includes(name));
  return { names: [...marked, ""], of: (name) => (name === base ? BASE : name === best ? ACCENT : FAINT), width: (name) => (marked.includes(name) ? 2 : 1) };
};
const addLegend = (colours) => {
  const legend = document.createElement("p");
  legend.className = "legend";
  for (const name of colours.names) {
    const entry = document.createElement("span");
    const line = document.createElement("i");
    line.style.background = colours.of(name);
    entry.append(line, shorten(name, 60) || `other methods; choose up to ${MAX_COLOURS} in the filter to colour them`);
    legend.append(entry);
  }
  return legend;
};
const drawLines = (figure, suite, width, rows, label) => {
  const shown = showMethods(suite), size = panelWidth(width), colours = colourOf(suite, shown);
  const grid = facet(suite, rows, (ofTask) => plot(figure, {
    width: size,
    height: 190,
    marginLeft: 42,
    marginTop: 8,
    marginBottom: 38,
    x: { label: label.x, labelAnchor: "right", labelArrow: "none", ticks: 4, tickFormat: "~s" },
    y: { label: null, ticks: 4, grid: true, nice: true },
    marks: [
      Plot.line(ofTask, { x: "x", y: "y", z: "name", stroke: (row) => colours.of(row.name), strokeWidth: (row) => colours.width(row.name), sort: null }),
      Plot.tip(ofTask, Plot.pointer({ x: "x", y: "y", title: (row) => `${row.name}\n${label.y} at ${label.x} ${row.x}: ${label.format(row.y)}` })),
    ],
  }));
  grid?.prepend(addLegend(colours));
  return grid;
};
const drawLosses = (figure, suite, width) => {
  const shown = showMethods(suite);
  const rows = suite.curves.filter(([, method]) => shown[method])
    .flatMap(([t, method, steps, losses]) => steps.map((x, i) => ({ t, name: suite.methods[method], x, y: losses[i] ?? NaN })));
  return drawLines(figure, suite, width, rows, { x: "step", y: "loss", format: (y) => y.toPrecision(4) });
};
const drawBudgets = (figure, suite, width) => {
  const shown = showMethods(suite);
  const places = [...new Set(suite.budgets.map(([place]) => place))];
  const tuned = { ...suite, tasks: places };
  const rows = suite.budgets.filter(([, name]) => shown[suite.methods.indexOf(name)] !== false)
    .flatMap(([place, name, scores]) => scores.map((y, i) => ({ t: places.indexOf(place), name, x: i + 1, y })));
  return drawLines(figure, tuned, width, rows, { x: "trials", y: "validation score", format: points });
};

const MEMORY_COLOURS = ["var(--c0)", "var(--c1)", "var(--c2)", FAINT];
const MEMORY = ["trained weights", "gradients", "optimizer state", "rest"];
const drawCost = (figure, suite, width) => {
  const shown = showMethods(suite), size = width < 760 ? width : width / 2 - 12;
  const memory = suite.memory.filter(([method]) => shown[method])
    .flatMap(([method, ...sizes]) => sizes.map((bytes, i) => ({ name: suite.methods[method], part: MEMORY[i], mib: bytes / 2 ** 20 })));
  if (memory.length === 0) return null;
  const names = [...new Set(memory.map((row) => row.name))];
  const speeds = suite.ranking.filter((row) => row.speed && shown[row.method]).map((row) => ({ name: suite.methods[row.method], value: row.speed[0], low: row.speed[1], high: row.speed[2] }));
  const common = { width: size, height: 56 + 22 * names.length, marginLeft: marginFor(names), marginTop: 6, marginBottom: 42, y: { label: null, domain: names, tickFormat: (name) => shorten(name), tickSize: 0 } };
  const grid = document.createElement("div");
  grid.className = "facets";
  const colour = (part) => MEMORY_COLOURS[MEMORY.indexOf(part)];
  grid.append(plot(figure, { ...common, x: { label: "peak memory (MiB)", labelAnchor: "center", labelArrow: "none", grid: true, ticks: 5 }, marks: [
    Plot.barX(memory, { x: "mib", y: "name", fill: (row) => colour(row.part), insetTop: 3, insetBottom: 3, title: (row) => `${row.name}\n${row.part}: ${points(row.mib)} MiB`, tip: true }),
  ] }));
  if (speeds.length) {
    grid.append(plot(figure, { ...common, x: { label: "samples/s: median, 10th to 90th percentile", labelAnchor: "center", labelArrow: "none", grid: true, ticks: 5, zero: true }, marks: [
      Plot.ruleY(speeds, { x1: "low", x2: "high", y: "name", stroke: ACCENT, strokeWidth: 2 }),
      Plot.dot(speeds, { x: "value", y: "name", fill: ACCENT, r: 4, title: (row) => `${row.name}\n${Math.round(row.value)} (${Math.round(row.low)} to ${Math.round(row.high)})`, tip: true }),
    ] }));
  }
  grid.prepend(addLegend({ names: MEMORY, of: colour }));
  return grid;
};
