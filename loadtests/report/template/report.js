/* The curves of the page, and nothing else: every number they show is also in a table that needs no script. */
(() => {
  "use strict";
  const result = JSON.parse(document.getElementById("result").textContent);
  const { axis, clear, colour, ink, inside, keepDrawn, legend, ms, nearest, show } = Charts;
  let clock = "both";

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

  function line(i, label, dashed, value, more) {
    return { label, value, stroke: ink(i), width: dashed ? 1.5 : 2.2, dash: dashed ? [5, 4] : undefined, points: { show: false }, spanGaps: false, ...more };
  }

  /* uPlot widens a logarithmic axis to whole decades; the data deserve the room. */
  const tight = (u, min, max) => (min == null ? [0.1, 10] : [min / 1.05, max * 1.05]);
  /* 1 to 9 of each decade, or five even steps where so few fall in. */
  function logarithmic(u, axis, min, max) {
    const splits = Charts.logarithmic(u, axis, min, max);
    return splits.length > 1 ? splits : [0, 1, 2, 3, 4].map((i) => Number((min * (max / min) ** (i / 4)).toPrecision(3)));
  }
  const mantissa = (v) => Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toPrecision(3));
  function decade(u, splits) {
    const round = splits.map((v) => ([1, 2, 5].includes(mantissa(v)) ? v : null));
    return round.filter((v) => v != null).length > 1 ? round : splits;
  }
  const tens = (u, splits) => splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? v : null));

  function draw(id, options, data, widthPx) {
    const place = document.getElementById(id);
    place.replaceChildren();
    if (!data[0].length) {
      place.textContent = "No samples.";
      return;
    }
    const width = widthPx || place.clientWidth;
    show({ width, height: 280, legend, ...options }, data, place);
  }

  function drawAll(widthPx) {
    clear();
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
    inside(u, (ctx, x, y, bbox) => {
      for (const band of result.bands) {
        const i = result.variants.findIndex((variant) => variant.name === band.variant);
        const from = x(band.start_s);
        const to = Math.max(x(band.end_s), from + 2 * devicePixelRatio);
        ctx.globalAlpha = 0.2;
        ctx.fillStyle = i < 0 ? colour("--muted") : ink(i);
        ctx.fillRect(from, bbox.top, to - from, bbox.height);
      }
    });
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

  document.querySelectorAll("input[name=clock]").forEach((input) => input.addEventListener("change", () => {
    clock = input.value;
    drawAll();
  }));

  keepDrawn(drawAll, { places: ".chart", opened: ".card details:not([open])" });
})();
