// What all charts share: sizes, colours, and how Observable Plot is called.
const INK = "var(--ink)", SOFT = "var(--soft)", FAINT = "var(--faint)", ACCENT = "var(--accent)", BASE = "var(--base)";
const ROW_HEIGHT = 24;
const FAR_ROWS = 20; // from here on a chart has its axis above too, because the one below is out of sight
const LONG = 26; // characters of a name beside a chart
const MAX_COLOURS = 8; // as many curves as colours tell apart
const SHORT = 22; // characters of a name beside a small chart
const NARROW = 360; // pixels; a chart of the first screen below this has short names
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
