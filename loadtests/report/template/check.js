/* The load over time: requests and failures, and how long they waited, on the time axis of the lanes above. */
(() => {
  "use strict";
  const { seconds, ticks, load_s: loadS, slices, bands } = JSON.parse(document.getElementById("check").textContent);
  const root = document.documentElement;
  const PRINTED = { widthPx: 640, leftPx: 128, rightPx: 12 }; /* as check.css lays out the lanes on paper */
  let charts = [];

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const ms = (v) => (v == null ? "" : `${v >= 100 ? v.toFixed(0) : Number(v.toPrecision(3))} ms`);
  const rate = (v) => (v == null ? "" : `${Number(v.toPrecision(3)).toLocaleString("en")}/s`);
  const at = (v) => (v == null ? "" : `${Number(v.toFixed(2))} s`);
  const plain = (u, splits) => splits.map((v) => (v == null ? "" : v.toLocaleString("en")));
  const column = (k) => slices.map((row) => row[k]);

  /* uPlot's own logarithmic steps never end where an axis starts just below a power of ten. */
  function logarithmic(u, axis, min, max) {
    const splits = [];
    for (let e = Math.floor(Math.log10(min)); e <= Math.log10(max); e++)
      for (let m = 1; m <= 9; m++) {
        const v = Number(`${m}e${e}`);
        if (v >= min && v <= max) splits.push(v);
      }
    return splits;
  }
  /* 1, 2 and 5 of a decade; over many decades only the powers of ten have room. */
  function decade(u, splits) {
    const wanted = splits[splits.length - 1] / splits[0] > 2000 ? [1] : [1, 2, 5];
    return splits.map((v) => (wanted.includes(Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toPrecision(2))) ? v : null));
  }

  function axis(more) {
    const line = { stroke: colour("--line"), width: 1 };
    return { stroke: colour("--muted"), grid: more.filter ? { ...line, filter: more.filter } : line, ticks: { ...line, size: 4 }, font: "12px system-ui, sans-serif", ...more };
  }

  /* Where the lanes begin and end, so that a moment stands at one place on all of the page. */
  function place(element) {
    const [mine, lanes] = [element.getBoundingClientRect(), document.getElementById("axis").getBoundingClientRect()];
    return { widthPx: mine.width, leftPx: lanes.left - mine.left, rightPx: mine.right - lanes.right };
  }

  /* A slice between two without an answer has no line to either side: it gets a point. */
  function alone(u, seriesIdx) {
    const ys = u.data[seriesIdx];
    return ys.flatMap((y, i) => (y != null && ys[i - 1] == null && ys[i + 1] == null ? [i] : []));
  }
  function line(label, value, ink, more) {
    return { label, value: (u, v) => value(v), stroke: colour(ink), width: 1.8, spanGaps: false, points: { show: true, size: 5, filter: alone }, ...more };
  }

  function shade(u) {
    const { ctx, bbox } = u;
    const x = (v) => u.valToPos(v, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour("--muted");
    ctx.globalAlpha = 0.16;
    /* Overlapping faults are one shade: the lanes say which is which. */
    ctx.beginPath();
    bands.forEach(([from, to]) => ctx.rect(x(from), bbox.top, Math.max(x(to) - x(from), 2 * devicePixelRatio), bbox.height));
    ctx.fill("nonzero");
    ctx.globalAlpha = 1;
    if (loadS < seconds) {
      ctx.beginPath();
      ctx.strokeStyle = colour("--ink");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.moveTo(x(loadS), bbox.top);
      ctx.lineTo(x(loadS), bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  const legend = { markers: { dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } };
  const cursor = { sync: { key: "load", scales: ["x", null] }, drag: { x: false, y: false }, points: { size: 7 } };

  function draw(id, printed, { height, y, yAxis, series }, data) {
    const element = document.getElementById(id);
    element.replaceChildren();
    if (!data[1].some((v) => v != null)) {
      element.textContent = "Nothing was measured.";
      element.classList.add("nothing");
      return;
    }
    const { widthPx, leftPx, rightPx } = printed || place(element);
    const chart = new uPlot({
      width: widthPx, height, legend, cursor, hooks: { drawClear: [shade] }, padding: [8, rightPx, 0, 0],
      scales: { x: { time: false, range: [0, seconds] }, y },
      series: [{ label: "at", value: (u, v) => at(v) }, ...series],
      axes: [axis({ size: 32, splits: () => ticks, values: (u, splits) => splits.map((v) => `${Number(v.toPrecision(3))} s`) }), axis({ size: leftPx, ...yAxis })],
    }, data, element);
    charts.push({ chart, element });
  }

  function drawAll(printed) {
    charts.forEach(({ chart }) => chart.destroy());
    charts = [];
    const most = Math.max(1, ...column(1));
    draw("rates", printed, {
      height: 220, y: { range: [0, most * 1.08] }, yAxis: { values: plain },
      series: [line("requests", rate, "--v0"), line("failed", rate, "--bad", { dash: [5, 3], fill: `${colour("--bad")}33` })],
    }, [column(0), column(1), column(2)]);
    const waits = [...column(3), ...column(4)].filter((v) => v > 0);
    draw("latency", printed, {
      height: 260, y: { distr: 3, range: [Math.min(...waits) / 1.3, Math.max(...waits) * 1.3] },
      yAxis: { splits: logarithmic, filter: decade, values: plain, space: 24 },
      series: [line("p50", ms, "--v0"), line("slowest", ms, "--v1", { dash: [5, 4], width: 1.5 })],
    }, [column(0), column(3), column(4)]);
  }

  function step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const found = charts.find(({ element }) => element === event.currentTarget);
    if (!move || !found) return;
    event.preventDefault();
    const u = found.chart;
    const width = u.over.clientWidth;
    const left = u.cursor.left >= 0 ? u.cursor.left : width / 2;
    u.setCursor({ left: Math.max(0, Math.min(width, left + move * width / 60)), top: u.over.clientHeight / 2 });
  }

  document.querySelectorAll(".plot-of-load").forEach((element) => element.addEventListener("keydown", step));
  drawAll();
  let width = root.clientWidth;
  addEventListener("resize", () => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    drawAll(); /* not only their size: the lanes may begin elsewhere now */
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  /* Paper is white and narrow, and nothing on it can be opened. */
  let opened = [];
  addEventListener("beforeprint", () => {
    root.dataset.scheme = "light";
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((details) => { details.open = true; });
    drawAll(PRINTED);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.scheme;
    opened.forEach((details) => { details.open = false; });
    drawAll();
  });
})();
