// The chart of the first screen: methods by mean with intervals, or score against cost with selectable axes.
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
  const most = width < NARROW ? SHORT : LONG;
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
    marginLeft: marginFor(rows.map((row) => row.name), most),
    marginRight: 16,
    marginTop: rows.length > FAR_ROWS ? 28 : 8,
    x: { label: null, ticks: 5, grid: true, axis: rows.length > FAR_ROWS ? "both" : "bottom", ...padDomain(rows.flatMap((row) => [row.value, row.low, row.high])) },
    y: { label: null, domain: rows.map((row) => row.name), tickFormat: (name) => shorten(name, most), tickSize: 0 },
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
  const hasBars = Number(state.place) === AVERAGE
    ? suite.ranking.some((row) => row.mean && row.mean[1] !== null)
    : suite.means.some(([task, , , low]) => task === Number(state.place) && low !== null);
  return `Points, ${place}; ${hasBars ? "bars are 95 % intervals" : "no spread, so no intervals"}. ${base}.${Number(state.place) === AVERAGE ? " Blue: tied with the best." : ""}`;
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
