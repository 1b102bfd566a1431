/* The curves of the page, and nothing else: every number they show is also in a table that needs no script. */
(() => {
  "use strict";
  const result = JSON.parse(document.getElementById("result").textContent);
  const root = document.documentElement;
  const PRINT_WIDTH_PX = 640;
  const COLOURS = 6;
  let charts = [];
  let clock = "both";

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const ms = (value) => (value == null ? "" : `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))} ms`);
  const share = (value) => (value == null ? "" : `${Number((value * 100).toPrecision(3))} %`);
  const short = (value) => (value == null ? "" : Number(value.toPrecision(6)));

  /* The fraction at or below x, straight between two known points of log x; null outside of what was measured. */
  function fractionAt(points, x, from) {
    let i = from;
    while (i < points.length && points[i][0] < x) i++;
    if (i === points.length) return [1, i];
    if (points[i][0] === x) {
      while (i + 1 < points.length && points[i + 1][0] === x) i++;
      return [points[i][1], i];
    }
    if (i === 0) return [0, 0];
    const [[x0, f0], [x1, f1]] = [points[i - 1], points[i]];
    return [x0 > 0 ? f0 + ((f1 - f0) * Math.log(x / x0)) / Math.log(x1 / x0) : f0, i];
  }

  /* All curves on the union of their latencies, so that one cursor reads all of them. */
  function curves() {
    const sides = result.variants.flatMap((variant, i) => [
      { i, name: variant.name, clock: "intended", points: variant.latency_intended.ecdf, samples: variant.latency_intended.samples },
      { i, name: variant.name, clock: "sent", points: variant.latency_sent.ecdf, samples: variant.latency_sent.samples },
    ]);
    const xs = [...new Set(sides.flatMap((side) => side.points.map((point) => point[0])))].filter((x) => x > 0).sort((a, b) => a - b);
    for (const side of sides) {
      let from = 0;
      side.fractions = xs.map((x) => {
        const [fraction, next] = fractionAt(side.points, x, from);
        from = next;
        return side.points.length ? fraction : null;
      });
    }
    return { xs, sides };
  }

  function axis(more) {
    const line = { stroke: colour("--line"), width: 1 };
    return { stroke: colour("--muted"), grid: more.filter ? { ...line, filter: more.filter } : line, ticks: { ...line, size: 4 }, font: "12px system-ui, sans-serif", ...more };
  }

  function line(i, label, dashed, value, more) {
    return { label, value, stroke: colour(`--v${i % COLOURS}`), width: dashed ? 1.5 : 2.2, dash: dashed ? [5, 4] : undefined, points: { show: false }, spanGaps: false, ...more };
  }

  /* uPlot widens a logarithmic axis to whole decades; the data deserve the room. */
  const tight = (u, min, max) => (min == null ? [0.1, 10] : [min / 1.05, max * 1.05]);
  /* 1 to 9 of each decade, or five even steps where so few fall in. uPlot's own splits never end when an axis begins just below a decade. */
  function logarithmic(u, axis, min, max) {
    const splits = [];
    for (let e = Math.floor(Math.log10(min)); e <= Math.log10(max); e++)
      for (let m = 1; m <= 9; m++) {
        const v = Number(`${m}e${e}`);
        if (v >= min && v <= max) splits.push(v);
      }
    return splits.length > 1 ? splits : [0, 1, 2, 3, 4].map((i) => Number((min * (max / min) ** (i / 4)).toPrecision(3)));
  }
  const mantissa = (v) => Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toPrecision(3));
  function decade(u, splits) {
    const round = splits.map((v) => ([1, 2, 5].includes(mantissa(v)) ? v : null));
    return round.filter((v) => v != null).length > 1 ? round : splits;
  }
  const tens = (u, splits) => splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? v : null));

  const legend = { markers: { dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } };

  function draw(id, options, data, widthPx) {
    const place = document.getElementById(id);
    place.replaceChildren();
    if (!data[0].length) {
      place.textContent = "No samples.";
      return;
    }
    const width = widthPx || place.clientWidth;
    const chart = new uPlot({ width, height: 280, legend, ...options }, data, place);
    charts.push({ chart, place });
  }

  function drawAll(widthPx) {
    charts.forEach(({ chart }) => chart.destroy());
    charts = [];
    const { xs, sides } = curves();
    const shown = (side) => clock === "both" || clock === side.clock;
    const label = (side) => `${side.name}, ${side.clock === "intended" ? "planned" : "sent"}`;
    const series = (value) => [{ label: "at", value: (u, v) => ms(v) }, ...sides.map((side) => line(side.i, label(side), side.clock === "sent", (u, v) => value(v), { show: shown(side) }))];
    const xAxis = axis({ filter: decade, splits: logarithmic, values: (u, splits) => splits.map(short), space: 30, size: 32 });
    const cursor = { sync: { key: "latency", scales: ["x", null] }, drag: { x: false, y: false }, points: { size: 7 } };
    const x = { time: false, distr: 3, range: tight };
    draw("ecdf", { cursor, series: series(share), scales: { x, y: { range: [0, 1] } }, axes: [xAxis, axis({ values: (u, splits) => splits.map((v) => `${short(v * 100)} %`), size: 54 })] },
      [xs, ...sides.map((side) => side.fractions)], widthPx);
    /* Less than one request is left of the last sample: the curve ends there. */
    const tails = sides.map((side) => side.fractions.map((f) => (f == null || 1 - f < 0.99 / side.samples ? null : 1 - f)));
    const rarest = 1 / Math.max(2, ...sides.map((side) => side.samples));
    const percentile = (v) => (v == null ? "" : v === 1 ? "all" : `p${short(100 - v * 100)}`);
    draw("tail", { cursor, series: series(share), scales: { x, y: { distr: 3, range: [rarest, 1] } }, axes: [xAxis, axis({ filter: tens, splits: logarithmic, values: (u, splits) => splits.map(percentile), size: 54 })] },
      [xs, ...tails], widthPx);
    drawOverTime(widthPx);
  }

  /* What was done on purpose lies behind the lines, in the colour of the variant it was done to. */
  function shade(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const band of result.bands) {
      const i = result.variants.findIndex((variant) => variant.name === band.variant);
      const from = u.valToPos(band.start_s, "x", true);
      const to = Math.max(u.valToPos(band.end_s, "x", true), from + 2 * devicePixelRatio);
      ctx.globalAlpha = 0.2;
      ctx.fillStyle = colour(i < 0 ? "--muted" : `--v${i % COLOURS}`);
      ctx.fillRect(from, bbox.top, to - from, bbox.height);
    }
    ctx.restore();
  }

  /* A variant rests while the others have their turn; its line breaks there. */
  function slices(rows, column) {
    const steps = rows.slice(1).map((row, i) => row[0] - rows[i][0]).sort((a, b) => a - b);
    const usual = steps[Math.floor(steps.length / 2)] || Infinity;
    const xs = [], ys = [];
    rows.forEach((row, i) => {
      if (i && row[0] - rows[i - 1][0] > 3 * usual) { xs.push((row[0] + rows[i - 1][0]) / 2); ys.push(null); }
      xs.push(row[0]);
      ys.push(row[column]);
    });
    return [xs, ys];
  }

  function drawOverTime(widthPx) {
    const tables = [], series = [{ label: "at", value: (u, v) => (v == null ? "" : `${Number(v.toFixed(1))} s`) }];
    result.variants.forEach((variant, i) => {
      if (!variant.over_time.length) return;
      tables.push(slices(variant.over_time, 1), slices(variant.over_time, 2));
      series.push(line(i, `${variant.name}, p50`, false, (u, v) => ms(v), { points: { show: true, size: 5 } }));
      series.push(line(i, `${variant.name}, p99`, true, (u, v) => ms(v)));
    });
    const data = tables.length ? uPlot.join(tables) : [[]];
    draw("over-time", {
      height: 300, series, hooks: { drawClear: [shade] },
      scales: { x: { time: false }, y: { distr: 3, range: tight } },
      axes: [axis({ size: 32 }), axis({ filter: decade, splits: logarithmic, values: (u, splits) => splits.map(short), space: 24 })],
      cursor: { drag: { x: false, y: false }, points: { size: 7 }, dataIdx: nearest },
    }, data, widthPx);
  }

  /* The variants were measured at different moments: each line answers with its own nearest slice. */
  function nearest(u, seriesIdx, hovered, xValue) {
    const xs = u.data[0], ys = u.data[seriesIdx];
    let best = hovered;
    for (let i = 0, gap = Infinity; i < xs.length; i++) {
      if (ys[i] != null && Math.abs(xs[i] - xValue) < gap) { gap = Math.abs(xs[i] - xValue); best = i; }
    }
    return best;
  }

  function step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const found = charts.find(({ place }) => place === event.currentTarget);
    if (!move || !found) return;
    event.preventDefault();
    const u = found.chart;
    const width = u.over.clientWidth;
    const left = u.cursor.left >= 0 ? u.cursor.left : width / 2;
    u.setCursor({ left: Math.max(0, Math.min(width, left + move * width / 60)), top: u.over.clientHeight / 2 });
  }

  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  document.querySelectorAll(".chart").forEach((element) => element.addEventListener("keydown", step));
  document.querySelectorAll("input[name=clock]").forEach((input) => input.addEventListener("change", () => {
    clock = input.value;
    drawAll();
  }));
  const copy = document.getElementById("copy");
  copy.addEventListener("click", () => {
    const text = document.getElementById("command").textContent;
    /* Some browsers lend no clipboard to a page opened from a file: select the text instead. */
    const copied = navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error("no clipboard"));
    copied.then(
      () => { document.getElementById("copied").textContent = "Copied."; },
      () => { getSelection().selectAllChildren(document.getElementById("command")); },
    );
  });

  drawAll();
  let width = root.clientWidth;
  addEventListener("resize", () => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    charts.forEach(({ chart, place }) => chart.setSize({ width: place.clientWidth, height: chart.height }));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  /* Paper is white and narrow, whatever the screen was. */
  let opened = [];
  addEventListener("beforeprint", () => {
    root.dataset.scheme = "light";
    opened = [...document.querySelectorAll(".card details:not([open])")];
    opened.forEach((details) => { details.open = true; });
    drawAll(PRINT_WIDTH_PX);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.scheme;
    opened.forEach((details) => { details.open = false; });
    drawAll();
  });
})();
