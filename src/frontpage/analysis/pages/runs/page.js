
// Draws the curves of the ticked runs as SVG, and says their values under the mouse, a finger or the arrow keys.
const runs = JSON.parse(document.getElementById("runs").textContent);
const find = (id) => document.getElementById(id);
const VALUE = 3, COLOURS = 10, MARGIN = { left: 68, right: 16, top: 14, bottom: 44 };
const boxes = [...document.querySelectorAll("#legend input")];
const svg = find("curves");

function node(kind, attributes, words) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

function smoothed(points) {
  let mean = points[0][VALUE];
  return points.map((point) => [...point.slice(0, VALUE), (mean = 0.85 * mean + 0.15 * point[VALUE])]);
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

function logarithmicTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
    for (const one of [1, 2, 5]) if (one * 10 ** power >= low && one * 10 ** power <= high) found.push(one * 10 ** power);
  return found.length > 1 ? found : ticks(low, high, 5);
}

function spell(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)} G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return String(+value.toPrecision(size !== 0 && size < 0.01 ? 2 : 4));
}

function chosen() {
  const metrics = [find("metric").value, find("second").value].filter((name) => name !== "nothing");
  const logarithmic = find("logarithmic").checked;
  return boxes.filter((box) => box.checked).flatMap((box) => {
    const place = Number(box.dataset.run), run = runs.order[place];
    return metrics.flatMap((metric, second) => {
      let points = (runs.curves[run] || {})[metric] || [];
      if (logarithmic) points = points.filter((point) => point[VALUE] > 0);
      if (points.length && find("smooth").checked) points = smoothed(points);
      return points.length ? [{ run, metric, second, points, colour: place % COLOURS }] : [];
    });
  });
}

let drawn = [], toX = null, toY = null;
function draw() {
  drawn = chosen();
  svg.replaceChildren();
  find("readout").textContent = "";
  const width = svg.clientWidth, height = svg.clientHeight, axis = Number(find("against").value);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!drawn.length) {
    svg.append(node("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "axis" }, "no ticked run has this metric"));
    return;
  }
  const all = drawn.flatMap((curve) => curve.points), logarithmic = find("logarithmic").checked;
  const most = (place, sign, start) => sign * all.reduce((found, one) => Math.max(found, sign * one[place]), start);
  const [left, right] = [most(axis, -1, 0), most(axis, 1, -Infinity) || 1];
  let [low, high] = [most(VALUE, -1, -Infinity), most(VALUE, 1, -Infinity)];
  if (low === high) [low, high] = [low - Math.abs(low) * 0.05 - 1e-9, high + Math.abs(high) * 0.05 + 1e-9];
  const scale = logarithmic ? Math.log : (value) => value;
  const inside = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const room = (scale(high) - scale(low)) * 0.04;
  toX = (value) => MARGIN.left + ((value - left) / (right - left)) * inside[0];
  toY = (value) => MARGIN.top + (1 - (scale(value) - scale(low) + room) / (scale(high) - scale(low) + 2 * room)) * inside[1];
  for (const value of logarithmic ? logarithmicTicks(low, high) : ticks(low, high, 6)) {
    svg.append(node("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: toY(value), y2: toY(value) }));
    svg.append(node("text", { class: "axis", x: MARGIN.left - 8, y: toY(value) + 4, "text-anchor": "end" }, spell(value)));
  }
  for (const value of ticks(left, right, Math.max(width / 130, 3)))
    svg.append(node("text", { class: "axis", x: toX(value), y: height - 24, "text-anchor": "middle" }, spell(value)));
  const name = find("against").selectedOptions[0].textContent;
  svg.append(node("text", { class: "axis", x: MARGIN.left + inside[0] / 2, y: height - 6, "text-anchor": "middle" }, name));
  for (const curve of drawn) {
    const line = curve.points.map((one, at) => `${at ? "L" : "M"}${toX(one[axis]).toFixed(1)} ${toY(one[VALUE]).toFixed(1)}`);
    svg.append(node("path", { d: line.join(""), class: `c${curve.colour}${curve.second ? " second" : ""}` }));
    if (curve.points.length < 40)
      for (const one of curve.points)
        svg.append(node("circle", { class: `c${curve.colour}`, cx: toX(one[axis]), cy: toY(one[VALUE]), r: 2.5 }));
  }
}

let at = 0;  // pixels from the left, where the curves are read
function read(place) {
  if (!drawn.length) return;
  const axis = Number(find("against").value);
  at = Math.max(MARGIN.left, Math.min(place, svg.clientWidth - MARGIN.right));
  svg.querySelector(".cursor")?.remove();
  svg.append(node("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: svg.clientHeight - MARGIN.bottom }));
  find("readout").replaceChildren(...drawn.map((curve) => {
    const near = (one) => Math.abs(toX(one[axis]) - at);
    const point = curve.points.reduce((best, one) => (near(one) < near(best) ? one : best));
    const said = document.createElement("span"), swatch = document.createElement("i");
    swatch.className = `swatch c${curve.colour}`;
    said.append(swatch, `${curve.run}${curve.second ? ` ${curve.metric}` : ""}: ${+point[VALUE].toPrecision(5)} at ${spell(point[axis])}`);
    return said;
  }));
}

if (svg) {
  for (const one of [...document.querySelectorAll(".choices select, .choices input"), ...boxes]) one.addEventListener("change", draw);
  for (const [id, ticked] of [["none", false], ["every", true]])
    find(id).addEventListener("click", () => { for (const box of boxes) box.checked = ticked; draw(); });
  svg.addEventListener("pointermove", (event) => read(event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("pointerdown", (event) => read(event.clientX - svg.getBoundingClientRect().left));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    read(at + step * svg.clientWidth / 50);
  });
  window.addEventListener("resize", draw);
  draw();
}
find("all-keys")?.addEventListener("change", (event) =>
  find("configurations").classList.toggle("different", !event.target.checked));
