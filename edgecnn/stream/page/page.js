"use strict";

const MINUTE_MS = 60_000;
const byId = (id) => document.getElementById(id);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ages = [];
let latest = null;

byId("picture").src = "picture";
byId("picture").addEventListener("error", () => setTimeout(() => { byId("picture").src = `picture?${Date.now()}`; }, 2000));
listen();

function listen() {
  const figures = new EventSource("figures");
  figures.onmessage = (message) => show(JSON.parse(message.data));
  figures.onerror = () => problem("the stream does not answer");
}

function show(row) {
  latest = row;
  const { result, state, health } = row;
  set("source", row.source);
  problem(row.problem);
  verdict(row);
  if (result) {
    ages.push({ at: Date.now(), age: result.frame_age_ms, work: result.latency_ms });
    while (ages.length && ages[0].at < Date.now() - MINUTE_MS) ages.shift();
    set("age", ms(result.frame_age_ms));
    set("infer", `${ms(result.stages_ms.infer)} (${result.model})`);
    seen(result.top);
  }
  set("p95", ms(state.age_ms.p95));
  set("fps", state.fps ? `${state.fps.toFixed(1)} /s` : "");
  set("dropped", `${state.dropped} of ${state.frames + state.dropped}`);
  set("late", row.budget_ms ? `${state.late} of ${state.frames}` : "");
  set("temperature", health.temperature_c == null ? "not told" : `${health.temperature_c.toFixed(0)} °C`);
  set("clock", health.clock_mhz == null ? "not told" : `${health.clock_mhz.toFixed(0)} MHz`);
  for (const event of row.events) add(event);
  requestAnimationFrame(draw);
}

function set(id, text) {
  byId(id).textContent = text;
}

function ms(value) {
  return value == null ? "" : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

function problem(text) {
  byId("problem").hidden = !text;
  set("problem", text || "");
}

function verdict(row) {
  const box = byId("verdict");
  const { passed, frames, late } = row.state;
  if (!row.budget_ms) {
    box.textContent = "no budget";
    return;
  }
  const limit = `${row.budget_ms} ms for ${row.percentile} % of the frames`;
  box.className = passed ? "good" : "bad";
  box.textContent = frames ? `${passed ? "keeps" : "breaks"} ${limit} (${late} of ${frames} late)` : limit;
}

function seen(classes) {
  byId("top").replaceChildren(...classes.map(({ label, score }) => {
    const item = document.createElement("li");
    const share = document.createElement("span");
    const name = document.createElement("span");
    item.style.setProperty("--share", `${100 * score}%`);
    share.textContent = `${(100 * score).toFixed(0)} %`;
    name.textContent = label;
    item.append(share, name);
    return item;
  }));
}

function add(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = event.at;
  time.textContent = new Date(event.at).toLocaleTimeString();
  item.append(time, event.text);
  byId("events").prepend(item);
  while (byId("events").children.length > 50) byId("events").lastChild.remove();
}

function draw() {
  if (!latest) return;
  drawAges();
  drawHistogram();
}

function board(id) {
  const canvas = byId(id);
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "11px system-ui, sans-serif";
  return { context, width: canvas.clientWidth, height: canvas.clientHeight - 16, left: 34 };
}

function drawAges() {
  const { context, width, height, left } = board("ages");
  const budget = latest.budget_ms || 0;
  const most = Math.max(1, 1.2 * budget, ...ages.map((one) => one.age)) * 1.05;
  const now = Date.now();
  const x = (at) => width - (now - at) / MINUTE_MS * (width - left);
  const y = (value) => height - value / most * (height - 8);
  axis(context, most, y, left, width);
  if (budget) line(context, [[left, y(budget)], [width, y(budget)]], style("--bad"), [4, 3]);
  line(context, ages.map((one) => [x(one.at), y(one.age)]), style("--one"));
  line(context, ages.map((one) => [x(one.at), y(one.work)]), style("--two"));
  legend(context, [["frame age", "--one"], ["work", "--two"], ...(budget ? [["budget", "--bad"]] : [])], left, height + 13);
}

function drawHistogram() {
  const { context, width, height, left } = board("histogram");
  const bars = latest.state.ages;
  if (!bars.length) return;
  const most = Math.max(...bars.map(([, , count]) => count));
  const step = (width - left) / bars.length;
  const y = (value) => height - value / most * (height - 8);
  axis(context, most, y, left, width);
  bars.forEach(([low, high, count], at) => {
    context.fillStyle = style(latest.budget_ms && low >= latest.budget_ms ? "--bad" : "--one");
    context.fillRect(left + at * step + 1, y(count), step - 2, height - y(count));
    if (at % Math.ceil(bars.length / 5) === 0) {
      context.fillStyle = style("--soft");
      context.fillText(low.toPrecision(2), left + at * step, height + 13);
    }
  });
}

function axis(context, most, y, left, width) {
  for (const share of [0, 0.5, 1]) {
    const value = most * share;
    line(context, [[left, y(value)], [width, y(value)]], style("--line"));
    context.fillStyle = style("--soft");
    context.fillText(value < 10 ? value.toFixed(1) : value.toFixed(0), 2, y(value) + 4);
  }
}

function line(context, points, colour, dash = []) {
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.setLineDash([]);
}

function legend(context, entries, x, y) {
  for (const [text, colour] of entries) {
    context.fillStyle = style(colour);
    context.fillRect(x, y - 8, 8, 8);
    context.fillStyle = style("--soft");
    context.fillText(text, x + 12, y);
    x += 24 + context.measureText(text).width;
  }
}
