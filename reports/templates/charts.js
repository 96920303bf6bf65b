// Which chart is which, and when it is drawn: when its section opens, and again when a filter or the width changes.
const SHOW_RUNS = ["scores", "seeds"];
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
  const left = suite.total > suite.runs.length ? ` Runs: the first of each task and method, ${suite.runs.length} of ${suite.total}.` : "";
  text.textContent = caption ? caption + (SHOW_RUNS.includes(figure.dataset.chart) ? left : "") : "";
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
