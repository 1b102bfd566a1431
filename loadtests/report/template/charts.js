/* What the charts of every page share: colours and axes, the arrow keys, and drawing anew for another width, scheme or paper. */
const Charts = (() => {
  "use strict";
  const root = document.documentElement;
  const PRINT_WIDTH_PX = 640;
  const COLOURS = 6;
  let shown = []; /* each chart and the element that holds it */

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const ink = (i) => colour(`--v${i % COLOURS}`);
  const ms = (v) => (v == null ? "" : `${v >= 100 ? v.toFixed(0) : Number(v.toPrecision(3))} ms`);
  const legend = { markers: { dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } };

  function axis(more) {
    const line = { stroke: colour("--line"), width: 1 };
    return { stroke: colour("--muted"), grid: more.filter ? { ...line, filter: more.filter } : line, ticks: { ...line, size: 4 }, font: "12px system-ui, sans-serif", ...more };
  }

  /* 1 to 9 of each decade. uPlot's own logarithmic steps never end where an axis starts just below a power of ten. */
  function logarithmic(u, axis, min, max) {
    const splits = [];
    for (let e = Math.floor(Math.log10(min)); e <= Math.log10(max); e++)
      for (let m = 1; m <= 9; m++) {
        const v = Number(`${m}e${e}`);
        if (v >= min && v <= max) splits.push(v);
      }
    return splits;
  }

  /* Drawing in the units of the data, clipped to the plot. */
  function inside(u, paint) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    paint(ctx, (v) => u.valToPos(v, "x", true), (v) => u.valToPos(v, "y", true), bbox);
    ctx.restore();
  }

  /* Each line answers with its own nearest point: the variants were not measured at the same places. */
  function nearest(u, seriesIdx, hovered, xValue) {
    const xs = u.data[0], ys = u.data[seriesIdx];
    let best = hovered;
    for (let i = 0, gap = Infinity; i < xs.length; i++) {
      if (ys[i] != null && Math.abs(xs[i] - xValue) < gap) { gap = Math.abs(xs[i] - xValue); best = i; }
    }
    return best;
  }

  function show(options, data, place) {
    shown.push({ chart: new uPlot(options, data, place), place });
  }

  function clear() {
    shown.forEach(({ chart }) => chart.destroy());
    shown = [];
  }

  function resize() {
    shown.forEach(({ chart, place }) => chart.setSize({ width: place.clientWidth, height: chart.height }));
  }

  function step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const found = shown.find(({ place }) => place === event.currentTarget);
    if (!move || !found) return;
    event.preventDefault();
    const u = found.chart;
    const width = u.over.clientWidth;
    const left = u.cursor.left >= 0 ? u.cursor.left : width / 2;
    u.setCursor({ left: Math.max(0, Math.min(width, left + move * width / 60)), top: u.over.clientHeight / 2 });
  }

  /* Draws now, and whenever it must look different: `drawAll` gets `printed` for paper, where `opened` names what is opened too. */
  function keepDrawn(drawAll, { places, printed = PRINT_WIDTH_PX, opened = "", resized = resize }) {
    document.querySelectorAll(places).forEach((element) => element.addEventListener("keydown", step));
    drawAll();
    let width = root.clientWidth;
    addEventListener("resize", () => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      resized();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
    /* Paper is white and narrow, whatever the screen was, and nothing on it can be opened. */
    let closed = [];
    addEventListener("beforeprint", () => {
      root.dataset.scheme = "light";
      closed = opened ? [...document.querySelectorAll(opened)] : [];
      closed.forEach((details) => { details.open = true; });
      drawAll(printed);
    });
    addEventListener("afterprint", () => {
      delete root.dataset.scheme;
      closed.forEach((details) => { details.open = false; });
      drawAll();
    });
  }

  return { axis, clear, colour, ink, inside, keepDrawn, legend, logarithmic, ms, nearest, show };
})();
