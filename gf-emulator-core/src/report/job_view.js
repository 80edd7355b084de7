"use strict";
(() => {
  const job = JSON.parse(document.getElementById("job").textContent);
  const element = (id) => document.getElementById(id);
  const bytes = Uint8Array.from(atob(job.samples), (c) => c.charCodeAt(0));

  // Positions after each interval, from the second differences; index 0 is the start.
  let count = 0;
  for (const byte of bytes) if (byte < 128) count += 1;
  count = count / 3 + 1;
  const x = new Float64Array(count), y = new Float64Array(count), fire = new Uint32Array(count);
  const fired = new Float64Array(count);
  let at = 0;
  const number = () => {
    let value = 0, factor = 1;
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  const signed = () => {
    const value = number();
    return value % 2 ? -(value + 1) / 2 : value / 2;
  };
  for (let i = 1, dx = 0, dy = 0; i < count; i++) {
    dx += signed();
    dy += signed();
    x[i] = x[i - 1] + dx;
    y[i] = y[i - 1] + dy;
    fire[i] = number();
    fired[i] = fired[i - 1] + fire[i];
  }
  const tickOf = (i) => Math.min(i * job.sampleTicks, job.ticks);
  const end = job.ticks / job.hz;

  // The layer of an interval: 0 for travel, else the density in sevenths, at least 1.
  const COLOURS = ["#9aa5b1", "#5ec962", "#28ae80", "#21918c", "#2c728e", "#3b528b", "#472d7b", "#2a0134"];
  const layerOf = (i) => {
    if (fire[i] === 0) return 0;
    const ticks = tickOf(i) - tickOf(i - 1);
    return Math.min(7, Math.max(1, Math.round((7 * fire[i]) / ticks)));
  };
  const shown = [];
  const present = new Set();
  for (let i = 1; i < count; i++) present.add(layerOf(i));
  for (const layer of [...present].sort()) {
    // The travel between the rows of an engraving hides it.
    shown[layer] = layer !== 0 || present.size === 1;
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = shown[layer];
    box.id = "layer-" + layer;
    const line = document.createElement("i");
    line.style.setProperty("background", COLOURS[layer]);
    label.append(box, " ", line, layer === 0 ? " travel" : ` density ${layer}/7`);
    box.addEventListener("change", () => {
      shown[layer] = box.checked;
      redraw();
    });
    element("layers").append(label);
  }

  // The visible part: the job, with a margin.
  let [left, right, back, front] = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) {
    left = Math.min(left, x[i] * job.xMm);
    right = Math.max(right, x[i] * job.xMm);
    back = Math.min(back, y[i] * job.yMm);
    front = Math.max(front, y[i] * job.yMm);
  }
  const margin = Math.max(2, 0.04 * Math.max(right - left, front - back));
  left -= margin;
  right += margin;
  back -= margin;
  front += margin;
  const canvases = [element("path"), element("done")];
  let scale = 1;
  // The strip below the drawing, for the scale.
  const SCALE_PX = 32;

  const layOut = () => {
    // The page may have no width yet.
    const width = Math.max(element("picture").clientWidth, 1);
    // As high as the job needs at this width, but a flat one is not a slit, and a deep one fits the window.
    const needed = (width * (front - back)) / (right - left);
    const drawing = Math.max(90, Math.min(needed, Math.max(240, 0.62 * window.innerHeight)));
    const height = drawing + SCALE_PX;
    const ratio = window.devicePixelRatio || 1;
    scale = Math.min(width / (right - left), drawing / (front - back));
    const [across, down] = [(width - scale * (right - left)) / 2, (drawing - scale * (front - back)) / 2];
    for (const canvas of canvases) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.setProperty("height", `${height}px`);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, across * ratio, down * ratio);
    }
  };
  const px = (i) => (x[i] * job.xMm - left) * scale;
  const py = (i) => (y[i] * job.yMm - back) * scale;
  const clear = (context) => {
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.restore();
  };

  // Draws the intervals after `from` up to `to`, those of one layer in a row as one line.
  const draw = (context, from, to, isDone) => {
    let i = from + 1;
    while (i <= to) {
      const layer = layerOf(i);
      const start = i;
      while (i <= to && layerOf(i) === layer) i += 1;
      if (!shown[layer]) continue;
      context.beginPath();
      context.moveTo(px(start - 1), py(start - 1));
      for (let n = start; n < i; n++) context.lineTo(px(n), py(n));
      context.strokeStyle = COLOURS[layer];
      context.globalAlpha = isDone ? 1 : 0.35;
      context.lineWidth = layer === 0 ? 0.75 : 1.5;
      context.stroke();
    }
    context.globalAlpha = 1;
  };

  // Draws a bar of a round length in the bottom right corner.
  const drawScale = (context) => {
    const decade = 10 ** Math.floor(Math.log10(60 / scale));
    const mm = [1, 2, 5, 10].map((digit) => digit * decade).find((mm) => mm * scale >= 59.9);
    const ratio = window.devicePixelRatio || 1;
    context.save();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [end, bottom] = [context.canvas.width / ratio - 12, context.canvas.height / ratio - 12];
    const start = end - mm * scale;
    context.beginPath();
    context.moveTo(start, bottom - 5);
    context.lineTo(start, bottom);
    context.lineTo(end, bottom);
    context.lineTo(end, bottom - 5);
    context.strokeStyle = context.fillStyle = "#1f2933";
    context.lineWidth = 1.5;
    context.stroke();
    context.font = "13px system-ui, 'DejaVu Sans', sans-serif";
    context.textAlign = "center";
    context.fillText(`${Number(mm.toPrecision(1))} mm`, (start + end) / 2, bottom - 9);
    context.restore();
  };

  let drawn = 0;
  const done = document.createElement("canvas");
  const redraw = () => {
    layOut();
    const context = canvases[0].getContext("2d");
    clear(context);
    const [width, depth] = job.bedMm;
    context.strokeStyle = "#1f2933";
    context.lineWidth = 1;
    context.strokeRect(-left * scale, -back * scale, width * scale, depth * scale);
    draw(context, 0, count - 1, false);
    drawScale(context);
    done.width = canvases[1].width;
    done.height = canvases[1].height;
    done.getContext("2d").setTransform(canvases[1].getContext("2d").getTransform());
    drawn = 0;
    show();
  };

  // The last of a list of [tick, value] that is not after a tick.
  const lastOf = (list, tick) => {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle][0] <= tick) low = middle + 1;
      else high = middle;
    }
    return low > 0 ? list[low - 1][1] : null;
  };

  const time = element("time");
  const clock = (s) => {
    const hundredths = Math.round(100 * s);
    const seconds = (hundredths % 6000) / 100;
    return `${Math.floor(hundredths / 6000)}:${seconds.toFixed(2).padStart(5, "0")}`;
  };
  const put = (id, text) => {
    element(id).textContent = text;
  };
  const show = () => {
    const t = Math.min(Number(time.value), end);
    // Rounded, so that seconds that are a whole tick are that tick.
    const tick = Math.round(t * job.hz * 1000) / 1000;
    const i = Math.max(0, Math.min(Math.floor(tick / job.sampleTicks), count - 2));
    const next = Math.min(i + 1, count - 1);
    const span = tickOf(next) - tickOf(i);
    const part = span > 0 ? (tick - tickOf(i)) / span : 0;
    const mix = (list) => list[i] + (list[next] - list[i]) * part;
    const [headX, headY] = [mix(x) * job.xMm, mix(y) * job.yMm];
    // Over about 10 ms, or one interval if that is longer: in 1.4 ms, a slow head takes one step or none.
    const around = Math.round((0.005 * job.hz) / job.sampleTicks - 0.5);
    const [from, to] = [Math.max(i - around, 0), Math.min(i + 1 + around, count - 1)];
    const seconds = (tickOf(to) - tickOf(from)) / job.hz;
    const way = Math.hypot((x[to] - x[from]) * job.xMm, (y[to] - y[from]) * job.yMm);
    put("t", clock(t));
    put("x", headX.toFixed(3));
    put("y", headY.toFixed(3));
    put("z", ((lastOf(job.lens, tick) || 0) * job.zMm).toFixed(2));
    put("v", seconds > 0 ? (way / seconds).toFixed(1) : "0.0");
    put("laser", span > 0 && fire[next] > 0 ? (fire[next] / span).toFixed(2) : "off");
    put("power", lastOf(job.powers, tick) ?? "not set");
    const all = fired[count - 1];
    put("dose", `${(mix(fired) / job.hz).toFixed(2)} s (${all > 0 ? ((100 * mix(fired)) / all).toFixed(1) : "0.0"} %)`);

    const finished = done.getContext("2d");
    const complete = tick < job.ticks ? i : count - 1;
    if (complete < drawn) {
      clear(finished);
      drawn = 0;
    }
    draw(finished, drawn, complete, true);
    drawn = complete;
    const context = canvases[1].getContext("2d");
    clear(context);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(done, 0, 0);
    context.restore();
    context.beginPath();
    context.arc((headX - left) * scale, (headY - back) * scale, 5, 0, 2 * Math.PI);
    context.fillStyle = span > 0 && fire[next] > 0 ? "#c2410c" : "#1d4f91";
    context.fill();
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.5;
    context.stroke();
  };
  time.addEventListener("input", show);

  let last = null;
  const step = (now) => {
    if (last === null) return;
    const t = Number(time.value) + ((now - last) / 1000) * Number(element("rate").value);
    last = now;
    time.value = Math.min(t, end);
    show();
    if (t >= end) pause();
    else requestAnimationFrame(step);
  };
  const pause = () => {
    last = null;
    put("play", "Play");
  };
  element("play").addEventListener("click", () => {
    if (last !== null) return pause();
    if (Number(time.value) >= end) time.value = 0;
    last = performance.now();
    put("play", "Pause");
    requestAnimationFrame(step);
  });

  let width = 0;
  const onWidth = () => {
    if (element("picture").clientWidth === width) return;
    width = element("picture").clientWidth;
    redraw();
  };
  new ResizeObserver(onWidth).observe(element("picture"));
  window.addEventListener("resize", redraw);
  redraw();
})();
