"use strict";
const byId = (id) => document.getElementById(id);
const beginning = byId("prompt"), panel = byId("panel");
const SHADES = [1, 3, 5, 7];  // nats: below the first no colour, as in scripts/score.py
const SILENT = "the server does not answer; is it still running?";
const PATIENCE = 150;  // milliseconds without a key until the model is asked
const runs = [...byId("runs").children].map((section, place) => ({
  place, list: section.querySelector("ol"), problem: section.querySelector(".problem"),
}));
let waiting = 0, chosen = null, pinned = false;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);  // texts, never markup: titles contain "<"
  return made;
}

const percent = (share) =>
  `${share >= 0.1 ? (100 * share).toFixed(0) : (100 * share).toPrecision(share < 1e-3 ? 1 : 2)} %`;
const shade = (nats) => "n" + SHADES.filter((least) => nats >= least).length;
const spoken = (spelling) => spelling === "<eos>" ? "the end" : spelling;

// ---- asking

function settings() {
  const asked = { prompt: beginning.value.trimStart(), seed: Math.floor(Number(byId("seed").value) || 0) };
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const value = Number(slider.value), off = slider.dataset.off === slider.value;
    slider.previousElementSibling.querySelector("output").textContent = off ? "off" : slider.value;
    asked[slider.id] = off && slider.id !== "repetition_penalty" ? null : value;
  }
  return asked;
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function ask(run, asked) {
  run.asking?.abort();
  const asking = run.asking = new AbortController();
  try {
    const response = await fetch("/continue", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...asked, run: run.place }), signal: asking.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error);
    let complete = false;
    for await (const event of lines(response)) complete = show(run, asked, event) || complete;
    if (!complete) throw new Error("the answer broke off; see the terminal that serves this page");
    run.problem.textContent = "";
  } catch (error) {
    if (asking.signal.aborted) return;
    run.problem.textContent = error instanceof TypeError ? SILENT : error.message;
    if (error instanceof TypeError) return;
    closePanel();
    run.list.replaceChildren();  // what stands there continues another beginning
  }
}

function askAll() {
  const asked = settings();
  for (const run of runs) ask(run, asked);
}

function askSoon() {
  settings();
  clearTimeout(waiting);
  waiting = setTimeout(askAll, PATIENCE);
}

// ---- showing

function show(run, asked, event) {
  if (event.prompt) {
    closePanel();
    run.titles = Array.from({ length: asked.num }, () => {
      const title = element("div", { className: "title" }), facts = element("div", { className: "facts" }, "\u00a0");
      event.prompt.forEach((token, place) => title.append(mark(token, "typed", place)));
      return { title, facts };
    });
    run.list.replaceChildren(...run.titles.map(({ title, facts }) => element("li", {}, title, facts)));
  }
  for (const token of event.tokens ?? []) {
    const title = run.titles[token.title].title;
    title.append(mark(token, "drawn", title.children.length));
  }
  event.titles?.forEach((one, place) => {
    const facts = run.titles[place].facts;
    facts.textContent = `log probability ${one.log_prob.toFixed(1)}${one.ended ? "" : ", cut off: the block is full"}`;
    if (one.in_training) facts.append(" ", element("b", {}, "a training title"));
  });
  return Boolean(event.titles);
}

function mark(token, kind, place) {
  const end = token.spelling === "<eos>", text = place ? token.text : token.text.trimStart();
  const made = element("span", { className: `token ${kind}` });
  if (kind === "drawn") made.classList.add(shade(token.nats));
  if (end) made.classList.add("end");
  made.textContent = end ? "end" : text || (token.text ? "" : "\u00b7");  // a dot for a part of a character
  made.token = { ...token, text: end ? "" : text };
  made.tabIndex = place ? -1 : 0;
  made.setAttribute("role", "button");
  made.setAttribute("aria-label", `${spoken(token.spelling)}, ${percent(Math.exp(-token.nats))}, rank ${token.rank}`);
  return made;
}

function textBefore(span) {
  let text = "";
  for (let one = span.previousElementSibling; one; one = one.previousElementSibling) text = one.token.text + text;
  return text;
}

function begin(text) {
  beginning.value = text.trimStart();
  closePanel();
  beginning.focus();
  askAll();
}

// ---- the panel of one token

function openPanel(span, pin) {
  chosen?.classList.remove("chosen");
  chosen = span;
  pinned = pin;
  span.classList.add("chosen");
  const { token } = span, before = textBefore(span), share = Math.exp(-token.nats);
  const facts = ` ${percent(share)}, rank ${token.rank}, ${token.nats.toFixed(2)} nats`;
  const head = element("p", {}, element("code", {}, token.spelling), facts);
  const choices = token.alternatives.map(({ spelling, probability }) => {
    const whole = !spelling.includes("\\x") && spelling !== "<eos>";
    const row = element("button", { type: "button", className: "choice", disabled: !whole });
    if (spelling === token.spelling) row.classList.add("own");
    const bar = element("i");
    bar.style.width = `${100 * probability}%`;
    row.append(bar, element("span", {}, spoken(spelling)), element("span", {}, percent(probability)));
    row.title = whole ? "Begin the title with this instead" : "";
    row.onclick = () => begin(before + spelling.replaceAll("␣", " "));
    return row;
  });
  const onward = element("button", { type: "button", className: "onward" }, "Begin with all up to here");
  onward.onclick = () => begin(before + token.text);
  panel.replaceChildren(head, ...choices, onward);
  panel.hidden = false;
  const place = span.getClientRects()[0] ?? span.getBoundingClientRect(), width = panel.offsetWidth;
  const left = Math.max(12, Math.min(place.left, document.documentElement.clientWidth - width - 12));
  panel.style.left = `${left + scrollX}px`;
  const above = place.bottom + panel.offsetHeight + 12 > innerHeight && place.top > panel.offsetHeight + 12;
  panel.style.top = `${(above ? place.top - panel.offsetHeight - 6 : place.bottom + 6) + scrollY}px`;
}

function closePanel() {
  chosen?.classList.remove("chosen");
  chosen = null;
  pinned = false;
  panel.hidden = true;
}

const tokenOf = (event) => event.target.closest?.(".token");
const results = byId("runs");
results.addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse" && !pinned && tokenOf(event)) openPanel(tokenOf(event), false);
});
results.addEventListener("pointerleave", () => { if (!pinned) closePanel(); });
results.addEventListener("focusin", (event) => { if (tokenOf(event) && !pinned) openPanel(tokenOf(event), false); });
results.addEventListener("click", (event) => { if (tokenOf(event)) openPanel(tokenOf(event), true); });
results.addEventListener("keydown", (event) => {
  const span = tokenOf(event);
  if (!span) return;
  const titles = [...results.querySelectorAll(".title")], row = titles.indexOf(span.parentElement);
  const column = [...span.parentElement.children].indexOf(span);
  const other = (title) => title && title.children[Math.min(column, title.children.length - 1)];
  const next = {
    ArrowLeft: () => span.previousElementSibling, ArrowRight: () => span.nextElementSibling,
    ArrowUp: () => other(titles[row - 1]), ArrowDown: () => other(titles[row + 1]),
  }[event.key]?.();
  if (next) {
    event.preventDefault();
    pinned = false;
    span.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    openPanel(span, true);
    panel.querySelector("button:not(:disabled)").focus();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || panel.hidden) return;
  const back = panel.contains(document.activeElement) ? chosen : beginning;
  closePanel();
  back.focus();
});
document.addEventListener("pointerdown", (event) => {
  if (!panel.contains(event.target) && !tokenOf(event)) closePanel();
});

// ---- the start

beginning.addEventListener("input", askSoon);
byId("settings").addEventListener("input", askSoon);
byId("again").addEventListener("click", () => { byId("seed").value = settings().seed + 1; askAll(); });
const legend = byId("legend");
legend.append("Surprise, in nats:");
["below 1", "1 to 3", "3 to 5", "5 to 7", "7 and more"].forEach((words, place) => {
  legend.append(element("span", { className: `n${place}` }, words));
});
legend.append(`(as probabilities, ${SHADES.map((nats) => `${nats}: ${percent(Math.exp(-nats))}`).join(", ")})`);
byId("settings").open = matchMedia("(min-width: 40rem)").matches;  // a phone has the titles on its first screen
beginning.setSelectionRange(beginning.value.length, beginning.value.length);
askAll();

