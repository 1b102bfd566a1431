/* The load over time: requests and failures, and how long they waited, on the time axis of the lanes above. */
(() => {
  "use strict";
  const { seconds, ticks, load_s: loadS, slices, bands } = JSON.parse(document.getElementById("check").textContent);
  const { axis, clear, colour, inside, keepDrawn, legend, logarithmic, ms, show } = Charts;
  const PRINTED = { widthPx: 640, leftPx: 128, rightPx: 12 }; /* as check.css lays out the lanes on paper */

  const rate = (v) => (v == null ? "" : `${Number(v.toPrecision(3)).toLocaleString("en")}/s`);
  const at = (v) => (v == null ? "" : `${Number(v.toFixed(2))} s`);
  const plain = (u, splits) => splits.map((v) => (v == null ? "" : v.toLocaleString("en")));
  const column = (k) => slices.map((row) => row[k]);

  /* 1, 2 and 5 of a decade; over many decades only the powers of ten have room. */
  function decade(u, splits) {
    const wanted = splits[splits.length - 1] / splits[0] > 2000 ? [1] : [1, 2, 5];
    return splits.map((v) => (wanted.includes(Number((v / 10 ** Math.floor(Math.log10(v) + 1e-9)).toPrecision(2))) ? v : null));
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
    inside(u, (ctx, x, y, bbox) => {
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
    });
  }

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
    show({
      width: widthPx, height, legend, cursor, hooks: { drawClear: [shade] }, padding: [8, rightPx, 0, 0],
      scales: { x: { time: false, range: [0, seconds] }, y },
      series: [{ label: "at", value: (u, v) => at(v) }, ...series],
      axes: [axis({ size: 32, splits: () => ticks, values: (u, splits) => splits.map((v) => `${Number(v.toPrecision(3))} s`) }), axis({ size: leftPx, ...yAxis })],
    }, data, element);
  }

  function drawAll(printed) {
    clear();
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

  /* Another width draws all anew, not only its size: the lanes may begin elsewhere then. */
  keepDrawn(drawAll, { places: ".plot-of-load", printed: PRINTED, opened: "details:not([open])", resized: () => drawAll() });
})();
