// The charts, with Observable Plot, from the numbers of the analysis. Each is drawn again when a filter changes.
const INK = "var(--ink)", SOFT = "var(--soft)", FAINT = "var(--faint)", ACCENT = "var(--accent)", BASE = "var(--base)";
const ROW_HEIGHT = 24;
const FAR_ROWS = 20; // from here on a chart has its axis above too, because the one below is out of sight
const LONG = 26; // characters of a name beside a chart
const MAX_COLOURS = 8; // as many curves as colours tell apart
const SHORT = 22; // characters of a name beside a small chart
const AVERAGE = -1;

const spread = ([value, low, high]) => (low === null ? points(value) : `${points(value)} (${points(low)} to ${points(high)})`);
const showMethods = (suite) => suite.methods.map((name) => isNameShown("method", name));
const showTasks = (suite) => suite.tasks.map((name) => isNameShown("task", name));
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
const marginFor = (names, most = LONG) => 14 + Math.max(24, ...names.map((name) => ruler.measureText(shorten(name, most)).width));
const padDomain = (values) => {
  const [low, high] = d3.extent(values.filter((value) => value !== null));
  return low === high ? { domain: [low - 1, high + 1] } : { domain: [low, high], nice: true };
};
const plot = (figure, options) => {
  const svg = Plot.plot({ style: { background: "none", fontSize: "12px", fontFamily: "inherit", overflow: "visible" }, ...options });
  const root = svg.tagName.toLowerCase() === "svg" ? svg : svg.querySelector("svg");
  root.setAttribute("role", "img");
  root.setAttribute("aria-label", figure.dataset.alt);
  // parts of an image have no names of their own, and a group without a role may not have one
  all("g[aria-label]", root).forEach((part) => part.removeAttribute("aria-label"));
  return svg;
};

// ---- the first screen: methods by mean with intervals, or score against cost
const AXES = {
  score: { label: "mean score", better: 1, read: (row) => row.mean?.[0] },
  parameters: { label: "trainable parameters", better: -1, log: true, read: (row) => row.parameters, format: (x) => x.toLocaleString("en") },
  peak: { label: "peak memory (MiB)", better: -1, read: (row) => row.peak && row.peak / 2 ** 20 },
  speed: { label: "samples/s", better: 1, read: (row) => row.speed?.[0], format: (x) => Math.round(x).toLocaleString("en") },
  collapsed: { label: "collapsed runs (%)", better: -1, read: (row) => row.collapsed[1] && (100 * row.collapsed[0]) / row.collapsed[1] },
};
const listAxes = (suite) => {
  const tasks = suite.tasks.map((task, t) => [`task:${t}`, { label: task, better: 1, read: (row) => suite.means.find(([at, method]) => at === t && method === row.method)?.[2] }]);
  return Object.fromEntries([...Object.entries(AXES), ...tasks].filter(([, axis]) => suite.ranking.some((row) => Number.isFinite(axis.read(row)))));
};

const drawIntervals = (figure, suite, state, width) => {
  const shown = showMethods(suite);
  const verdicts = new Map(suite.ranking.map((row) => [row.method, row]));
  const source = Number(state.place) === AVERAGE
    ? suite.ranking.filter((row) => row.mean).map((row) => [row.method, ...row.mean])
    : suite.means.filter(([task]) => task === Number(state.place)).map(([, ...row]) => row);
  const rows = source.filter(([method]) => shown[method]).sort((a, b) => b[1] - a[1]).map(([method, value, low, high]) => ({ name: suite.methods[method], method, value, low, high }));
  if (rows.length === 0) return null;
  const isAverage = Number(state.place) === AVERAGE;
  const colour = (row) => (row.method === suite.baseline ? BASE : isAverage && verdicts.get(row.method)?.tied ? ACCENT : SOFT);
  const title = (row) => {
    const about = verdicts.get(row.method);
    const verdict = isAverage && about?.verdict ? `\n${about.difference ? `${about.difference[0] < 0 ? "" : "+"}${spread(about.difference)} against ${suite.methods[suite.baseline]}: ` : ""}${about.verdict}` : "";
    return `${row.name}\n${spread([row.value, row.low, row.high])}${verdict}`;
  };
  const base = rows.find((row) => row.method === suite.baseline);
  return plot(figure, {
    width,
    height: (rows.length > FAR_ROWS ? 54 : 34) + ROW_HEIGHT * rows.length,
    marginLeft: marginFor(rows.map((row) => row.name)),
    marginRight: 16,
    marginTop: rows.length > FAR_ROWS ? 28 : 8,
    x: { label: null, ticks: 5, grid: true, axis: rows.length > FAR_ROWS ? "both" : "bottom", ...padDomain(rows.flatMap((row) => [row.value, row.low, row.high])) },
    y: { label: null, domain: rows.map((row) => row.name), tickFormat: (name) => shorten(name), tickSize: 0 },
    marks: [
      base ? Plot.ruleX([base.value], { stroke: BASE, strokeDasharray: "4 3", strokeOpacity: 0.7 }) : null,
      Plot.ruleY(rows.filter((row) => row.low !== null), { x1: "low", x2: "high", y: "name", stroke: colour, strokeWidth: 2 }),
      Plot.dot(rows, { x: "value", y: "name", fill: colour, r: 4.5, title, tip: true }),
    ],
  });
};

const findFront = (rows, x, y) => {
  const isBeaten = (row) => rows.some((other) =>
    x.better * (other.x - row.x) >= 0 && y.better * (other.y - row.y) >= 0 && (other.x !== row.x || other.y !== row.y));
  return rows.filter((row) => !isBeaten(row)).sort((a, b) => a.x - b.x);
};
// counts of very different sizes need a logarithmic scale, and one that has a place for 0 if there are zeros
const chooseScale = (axis, values) => {
  const [low, high] = [d3.min(values.filter((x) => x > 0)), d3.max(values)];
  if (!axis.log || !(high > 20 * low)) {
    return { project: (x) => x, options: { nice: true, ticks: 4, tickFormat: high > 9999 ? "~s" : undefined } };
  }
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1).map((power) => 10 ** power);
  const inside = powers.filter((x) => x >= low * 0.9 && x <= high * 1.1);
  if (values.some((x) => x <= 0)) {
    return { project: (x) => Math.log1p(x / (low / 3)), options: { type: "symlog", constant: low / 3, ticks: [0, ...inside], tickFormat: d3.format("~s") } };
  }
  return { project: Math.log, options: { type: "log", ticks: inside.length > 1 ? inside : 3, tickFormat: d3.format("~s") } };
};
const drawPareto = (figure, suite, state, width) => {
  const axes = listAxes(suite), x = axes[state.x], y = axes[state.y], shown = showMethods(suite);
  if (!x || !y) return null;
  const rows = suite.ranking.filter((row) => shown[row.method])
    .map((row) => ({ ...row, name: suite.methods[row.method], x: x.read(row), y: y.read(row) }))
    .filter((row) => Number.isFinite(row.x) && Number.isFinite(row.y));
  if (rows.length === 0) return null;
  const front = findFront(rows, x, y);
  const colour = (row) => (row.method === suite.baseline ? BASE : row.tied ? ACCENT : SOFT);
  const format = (axis, value) => (axis.format || points)(value);
  const scale = chooseScale(x, rows.map((row) => row.x));
  const place = d3.scaleLinear(d3.extent(rows, (row) => scale.project(row.x)), [0, 1]);
  const isRight = (row) => place(scale.project(row.x)) > 0.5;
  const labels = (right) => Plot.text(front.filter((row) => isRight(row) === right), {
    x: "x", y: "y", text: (row) => shorten(row.name, 22), textAnchor: right ? "end" : "start", dx: right ? -8 : 8, dy: -9, fill: INK, stroke: "var(--paper)", strokeWidth: 4, paintOrder: "stroke",
  });
  return plot(figure, {
    width,
    height: Math.max(280, Math.min(440, width * 0.85)),
    marginLeft: 48,
    marginRight: 20,
    marginTop: 24,
    marginBottom: 50,
    x: { label: `${x.label}${x.better < 0 ? ", less is better" : ""}`, labelAnchor: "center", labelArrow: "none", grid: true, ...scale.options },
    y: { label: y.label, labelArrow: "none", nice: true, ticks: 5, tickFormat: Math.max(...rows.map((row) => row.y)) > 9999 ? "~s" : undefined, grid: true },
    marks: [
      Plot.line(front, { x: "x", y: "y", stroke: SOFT, strokeDasharray: "3 3", curve: x.better * y.better < 0 ? "step-after" : "step-before" }),
      Plot.dot(rows, { x: "x", y: "y", fill: colour, r: 5, title: (row) => `${row.name}\n${y.label}: ${format(y, row.y)}\n${x.label}: ${format(x, row.x)}`, tip: true }),
      labels(false),
      labels(true),
    ],
  });
};

const describeMain = (suite, state) => {
  const base = `Orange: ${shorten(suite.methods[suite.baseline])}, the baseline`;
  if (state.kind === "pareto") return `${base}. Blue: tied with the best. Dashed: Pareto front.`;
  const place = Number(state.place) === AVERAGE ? suite.average : suite.tasks[state.place];
  return `Points, ${place}; bars are 95 % intervals. ${base}.${Number(state.place) === AVERAGE ? " Blue: tied with the best." : ""}`;
};
const CHART_KINDS = { intervals: "Ranked intervals", pareto: "Pareto" };
const addControls = (figure, suite, redraw) => {
  const state = { kind: "intervals", place: AVERAGE, x: "parameters", y: "score" };
  const axes = listAxes(suite);
  state.x = axes.parameters ? "parameters" : Object.keys(axes).find((name) => name !== "score") || "score";
  const bar = document.createElement("div");
  bar.className = "controls";
  const tabs = document.createElement("div");
  tabs.setAttribute("role", "group");
  tabs.setAttribute("aria-label", "Chart");
  const addSelect = (name, text, options) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.append(...options.map(([value, title]) => new Option(shorten(title, 40), value, false, String(state[name]) === String(value))));
    select.addEventListener("change", () => { state[name] = select.value; redraw(); });
    label.append(`${text} `, select);
    label.dataset.for = name === "place" ? "intervals" : "pareto";
    bar.append(label);
  };
  const choose = (kind) => {
    state.kind = kind;
    all("button", tabs).forEach((button) => button.setAttribute("aria-pressed", button.value === kind));
    all("label", bar).forEach((label) => { label.hidden = label.dataset.for !== kind; });
  };
  for (const [kind, title] of Object.entries(CHART_KINDS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.value = kind;
    button.textContent = title;
    button.addEventListener("click", () => { choose(kind); redraw(); });
    tabs.append(button);
  }
  bar.append(tabs);
  addSelect("place", "of", [[AVERAGE, suite.average], ...suite.tasks.map((task, t) => [t, task])]);
  const titles = Object.entries(axes).map(([name, axis]) => [name, axis.label]);
  addSelect("y", "y", titles);
  addSelect("x", "x", titles);
  choose(state.kind);
  figure.append(bar);
  return state;
};

// ---- charts of the folded sections: small multiples by task
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
    entry.append(line, name || "other methods; choose up to 8 in the filter to colour them");
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
    .flatMap(([t, method, steps, losses]) => steps.map((x, i) => ({ t, name: suite.methods[method], x, y: losses[i] })));
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

const CHARTS = {
  scores: [drawScores, "Scores by task: mean, 95 % interval and every run; dotted line: majority baseline."],
  differences: [drawDifferences, "Paired differences to the baseline with 95 % intervals, in points."],
  heatmap: [drawHeatMap, "Paired difference to the baseline by method and task, in points."],
  seeds: [drawSeeds, "Every run; a cross has collapsed; dotted line: majority baseline."],
  loss: [drawLosses, "Training loss, mean over seeds."],
  cost: [drawCost, "Peak memory by category, and speed, profiled in isolation."],
  budgets: [drawBudgets, "Best validation score to expect, by number of trials (arXiv 1909.03004)."],
};

const setUpChart = (figure) => {
  const suite = DATA[figure.dataset.suite];
  const isMain = figure.dataset.chart === "main";
  const [draw, caption] = CHARTS[figure.dataset.chart] || [];
  if (!suite || (isMain ? suite.means.length === 0 : !draw)) return;
  const area = document.createElement("div");
  area.className = "area";
  figure.hidden = false;
  const redraw = () => {
    const width = Math.max(260, Math.floor(figure.clientWidth));
    const content = isMain
      ? (state.kind === "pareto" ? drawPareto : drawIntervals)(figure, suite, state, width)
      : draw(figure, suite, width);
    const empty = document.createElement("p");
    empty.className = "note";
    empty.textContent = isFiltered() ? "The filters leave nothing to draw." : "No scores to draw.";
    area.replaceChildren(content || empty);
    if (isMain) text.textContent = describeMain(suite, state);
  };
  const state = isMain ? addControls(figure, suite, redraw) : null;
  const text = document.createElement("figcaption");
  text.textContent = caption || "";
  figure.append(area, text);
  figure.redraw = redraw;
  redraw();
};
const addCharts = () => {
  const show = (root) => all("figure.chart", root).forEach((figure) => (figure.redraw ? figure.redraw() : setUpChart(figure)));
  all(".first").forEach(show);
  for (const section of all("details.section")) {
    section.addEventListener("toggle", () => section.open && show(section));
    if (section.open) show(section);
  }
  const redraw = () => all("figure.chart").filter((figure) => figure.redraw && figure.offsetParent).forEach((figure) => figure.redraw());
  document.addEventListener("filters", redraw);
  document.addEventListener("printing", () => all("details.section[data-print]").forEach(show));
  let timer = 0;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(redraw, 150); });
};
