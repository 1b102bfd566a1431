/* The two curves of a capacity test: latency against rate with its knee, throughput against clients with its fit. */
(() => {
  "use strict";
  const { objective, percentile, limit_ms: limitMs, variants } = JSON.parse(document.getElementById("capacity-data").textContent);
  const { axis, clear, colour, ink, inside, keepDrawn, legend, logarithmic, ms, nearest, show } = Charts;

  const rate = (v) => (v == null ? "" : `${Math.round(v).toLocaleString("en")}/s`);
  const plain = (u, splits) => splits.map((v) => (v == null ? "" : v >= 10000 ? `${Number((v / 1000).toPrecision(3))}k` : v.toLocaleString("en")));
  const decade = (u, splits) => splits.map((v) => ([1, 2, 5].includes(Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toPrecision(2))) ? v : null));

  function line(i, label, value, more) {
    return { label, value, stroke: ink(i), width: 2.2, points: { show: false }, spanGaps: true, ...more };
  }

  /* A mark for each step, in its variant's shape and colour; an open one does not count or did not pass. */
  function marks(u, points) {
    inside(u, (ctx, x, y) => {
      const r = 4 * devicePixelRatio;
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([]);
      for (const [i, px, py, filled] of points) {
        if (px == null || py == null) continue;
        const [cx, cy] = [x(px), y(py)];
        ctx.beginPath();
        if (i % 4 === 0) ctx.rect(cx - 1.4 * r, cy - 0.7 * r, 2.8 * r, 1.4 * r);
        else if (i % 4 === 1) ctx.arc(cx, cy, r, 0, 2 * Math.PI);
        else if (i % 4 === 2) ctx.rect(cx - r, cy - r, 2 * r, 2 * r);
        else { ctx.moveTo(cx, cy - 1.3 * r); ctx.lineTo(cx + 1.3 * r, cy); ctx.lineTo(cx, cy + 1.3 * r); ctx.lineTo(cx - 1.3 * r, cy); ctx.closePath(); }
        ctx.fillStyle = filled ? ink(i) : colour("--paper");
        ctx.strokeStyle = ink(i);
        ctx.fill();
        ctx.stroke();
      }
    });
  }

  function rule(ctx, from, to, stroke, dash) {
    ctx.beginPath();
    ctx.setLineDash(dash.map((v) => v * devicePixelRatio));
    ctx.strokeStyle = stroke;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.moveTo(...from);
    ctx.lineTo(...to);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  function told(ctx, text, x, y, align, stroke) {
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillStyle = stroke;
    ctx.textAlign = align;
    ctx.fillText(text, x, y);
  }

  /* The knees as bands, the objective as a line, behind the curves. */
  function kneesAndObjective(u) {
    inside(u, (ctx, x, y, bbox) => {
      variants.forEach(({ knee: [low, estimate, high] }, i) => {
        if (estimate == null) return;
        const from = low == null ? bbox.left : x(low);
        const to = high == null ? bbox.left + bbox.width : x(high);
        ctx.globalAlpha = 0.15;
        ctx.fillStyle = ink(i);
        ctx.fillRect(from, bbox.top, to - from, bbox.height);
        ctx.globalAlpha = 1;
        rule(ctx, [x(estimate), bbox.top], [x(estimate), bbox.top + bbox.height], ink(i), [2, 3]);
        const right = x(estimate) < bbox.left + bbox.width / 2;
        const gap = (right ? 6 : -6) * devicePixelRatio;
        told(ctx, `knee ${rate(estimate)}`, (right ? to : from) + gap, bbox.top + (14 + 16 * i) * devicePixelRatio, right ? "left" : "right", ink(i));
      });
      rule(ctx, [bbox.left, y(limitMs)], [bbox.left + bbox.width, y(limitMs)], colour("--bad"), [6, 4]);
      told(ctx, objective, bbox.left + 6 * devicePixelRatio, y(limitMs) - 5 * devicePixelRatio, "left", colour("--bad"));
    });
  }

  function bandsAndCores(u) {
    inside(u, (ctx, x, y, bbox) => {
      variants.forEach(({ fit, one_core_per_s: core }, i) => {
        ctx.globalAlpha = 0.15;
        ctx.fillStyle = ink(i);
        ctx.beginPath();
        fit.forEach(([n, low], k) => (k ? ctx.lineTo(x(n), y(low)) : ctx.moveTo(x(n), y(low))));
        [...fit].reverse().forEach(([n, , , high]) => ctx.lineTo(x(n), y(high)));
        ctx.fill();
        ctx.globalAlpha = 1;
        rule(ctx, [bbox.left, y(core)], [bbox.left + bbox.width, y(core)], ink(i), [6, 4]);
        told(ctx, `one core ${rate(core)}`, bbox.left + 6 * devicePixelRatio, y(core) - 5 * devicePixelRatio, "left", ink(i));
      });
    });
  }

  const cursor = { drag: { x: false, y: false }, points: { size: 7 }, dataIdx: nearest };

  function draw(id, options, tables, widthPx) {
    const place = document.getElementById(id);
    place.replaceChildren();
    const filled = tables.filter(([xs]) => xs.length);
    if (!filled.length) {
      place.textContent = "No samples.";
      return;
    }
    show({ width: widthPx || place.clientWidth, height: 320, legend, cursor, ...options }, uPlot.join(tables), place);
  }

  const column = (rows, k) => rows.map((row) => row[k]);
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];

  function drawLatency(widthPx) {
    const tables = [], series = [{ label: "at", value: (u, v) => rate(v) }], points = [];
    const all = variants.flatMap((v) => v.latency.flatMap((row) => [row[1], row[2]])).filter((v) => v != null).concat(limitMs);
    const most = Math.max(...variants.flatMap((v) => [...column(v.open, 0), v.knee[2] || 0]));
    variants.forEach((v, i) => {
      tables.push([column(v.latency, 0), column(v.latency, 1), column(v.latency, 2)]);
      series.push(line(i, `${v.name}, ${percentile}`, (u, y) => ms(y)));
      series.push(line(i, `${v.name}, p50`, (u, y) => ms(y), { dash: [5, 4], width: 1.5 }));
      v.open.forEach(([x, y, outcome]) => { if (outcome !== "void") points.push([i, x, y, outcome === "pass"]); });
    });
    draw("capacity-latency", {
      series,
      scales: { x: { time: false, range: [0, most * 1.03] }, y: { distr: 3, range: [Math.min(...all) / 1.3, Math.max(...all) * 1.3] } },
      axes: [axis({ values: plain, space: 60, size: 32 }), axis({ splits: logarithmic, filter: decade, values: (u, splits) => splits.map((v) => v ?? ""), size: 54, space: 24 })],
      hooks: { drawClear: [kneesAndObjective], draw: [(u) => marks(u, points)] },
    }, tables, widthPx);
  }

  function drawThroughput(widthPx) {
    const tables = [], series = [{ label: "at", value: (u, v) => (v == null ? "" : `${Number(v.toPrecision(3))} clients`) }], points = [];
    const all = variants.flatMap((v) => [...column(v.closed, 1), v.one_core_per_s]);
    const mostClients = Math.max(...variants.flatMap((v) => column(v.closed, 0)));
    const powers = Array.from({ length: Math.floor(Math.log2(mostClients)) + 1 }, (_, i) => 2 ** i);
    variants.forEach((v, i) => {
      const ns = [...new Set(column(v.closed, 0))].sort((a, b) => a - b);
      tables.push([column(v.fit, 0), column(v.fit, 2)], [ns, ns.map((n) => median(v.closed.filter((row) => row[0] === n).map((row) => row[1])))]);
      series.push(line(i, `${v.name}, fit`, (u, y) => rate(y)));
      series.push(line(i, `${v.name}, median step`, (u, y) => rate(y), { width: 0 }));
      v.closed.forEach(([x, y, isVoid]) => points.push([i, x, y, !isVoid]));
    });
    draw("capacity-throughput", {
      series,
      scales: { x: { time: false, distr: 3, log: 2, range: (u, min, max) => [min / 1.08, max * 1.08] }, y: { range: [0, Math.max(...all) * 1.1] } },
      axes: [axis({ splits: () => powers, values: plain, size: 32 }), axis({ values: plain, size: 54 })],
      hooks: { drawClear: [bandsAndCores], draw: [(u) => marks(u, points)] },
    }, tables, widthPx);
  }

  function drawAll(widthPx) {
    clear();
    drawLatency(widthPx);
    drawThroughput(widthPx);
  }

  keepDrawn(drawAll, { places: "#capacity .chart" });
})();
