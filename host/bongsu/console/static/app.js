// The page: keeps what the stream brings, and shows it.

import { Acts, History, toast } from "./acts.js";
import { Air } from "./air.js";
import { get, post, setToken } from "./api.js";
import { card, inOrder, isFault, isUrgent, shape, spoken } from "./cards.js";
import { detail } from "./detail.js";
import { byId, el, fill, say } from "./dom.js";
import { Sound } from "./sound.js";
import { Stream } from "./stream.js";
import { clock, currentLang, has, loadWords, moment, setLang, shopOf, span, ui, word } from "./words.js";

const CLOCK_OFF_MS = 2000;
const WARN_MS = 10 * 60000;

const incidents = new Map();
let counts = {};
let me = null;
let chosen = null;
let tab = "faults";
let looked = null; // a closed incident, out of the history
let live = false;
let reasons = [];
let server = null; // {ms, at}: the receiver's time, and when it was heard by this page's own clock
let stream = null;
let blink = false;
const sound = new Sound();

const now = () => (server ? server.ms + performance.now() - server.at : Date.now());
const host = { live: () => live, now, me: () => me, choose };
const acts = new Acts(host);
const history = new History(host);
const air = new Air(() => { if (tab === "air") showPane(); });

// ---- what comes in

function hearTime(content) {
  if (content.now_ms) server = { ms: content.now_ms, at: performance.now() };
}

const hear = {
  snapshot(content) {
    const before = new Set(incidents.keys());
    incidents.clear();
    for (const one of content.incidents) incidents.set(one.id, one);
    counts = content.counts;
    announce(content.incidents.filter((one) => !before.has(one.id)));
    showAll();
  },
  change(content) {
    hearTime(content);
    counts = content.counts;
    const before = new Map(content.incidents.map((one) => [one.id, incidents.get(one.id)]));
    for (const id of content.gone) incidents.delete(id);
    for (const one of content.incidents) incidents.set(one.id, one);
    announce(content.incidents.filter((one) => !one.ack_ms && before.get(one.id)?.last_alarm?.event !== one.last_alarm?.event));
    showAll(new Set([...content.gone, ...content.incidents.map((one) => one.id)]));
  },
  state(content) {
    hearTime(content);
    look();
  },
};

// For those who do not look: screen readers say it.
function announce(some) {
  const urgent = inOrder(some.filter((one) => isUrgent(one) && !one.ack_ms));
  if (urgent.length) say(byId("spoken"), urgent.slice(0, 3).map(spoken).join(". "));
}

// ---- the list

const alarms = () => inOrder([...incidents.values()].filter((one) => !isFault(one)));
const faults = () => inOrder([...incidents.values()].filter(isFault));

function showAll(changed = null) {
  showCards(byId("list"), alarms(), changed);
  const none = !byId("list").childElementCount;
  byId("quiet").hidden = !none;
  showMore();
  if ((tab !== "history" && tab !== "air") || looked) showPane(changed);
  showTabs();
  showCounts();
  tick();
}

// A small screen must not hide a fire without a sign.
function showMore() {
  const frame = byId("alarms").getBoundingClientRect();
  const below = [...byId("list").children].filter((one) => one.getBoundingClientRect().top > frame.bottom - 60).length;
  byId("more").hidden = !below;
  byId("more").textContent = `▼ ${ui("more_below", { n: below })}`;
}

// Make only those cards anew that changed; the others stay, with focus and all.
function showCards(list, wanted, changed) {
  const old = new Map([...list.children].map((child) => [Number(child.dataset.id), child]));
  const focused = document.activeElement?.getAttribute("data-key");
  const made = wanted.map((one) => {
    const kept = changed && !changed.has(one.id) && old.get(one.id);
    return kept || card(one, { acts, chosen: one.id === chosen, nowMs: now() });
  });
  const same = made.length === list.children.length && made.every((child, i) => child === list.children[i]);
  if (same) return;
  list.replaceChildren(...made);
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function showCounts() {
  const urgent = [...incidents.values()].filter((one) => isUrgent(one) && !one.ack_ms).length;
  fill(byId("counts"), ...Object.entries(counts).filter(([name]) => name !== "fault").map(([name, n]) => el("b", {}, `${shape({ class: name })} ${word("classes", name)} ${n} `)), urgent ? el("b", { class: "bad" }, ui("unacknowledged", { n: urgent })) : "");
}

function choose(id) {
  if (chosen === id && tab === "detail" && !looked) return;
  chosen = id;
  looked = null;
  for (const child of document.querySelectorAll(".card")) {
    if (Number(child.dataset.id) === id) child.setAttribute("aria-current", "true");
    else child.removeAttribute("aria-current");
  }
  if (!isFault(incidents.get(id) ?? { class: "fault" })) turnTo("detail");
}

// ---- the side: detail, faults, history

function turnTo(wanted) {
  tab = wanted;
  showTabs();
  showPane();
  if (tab === "air") air.look().catch(airFailed);
  tick();
}

function airFailed(error) {
  toast(`${ui("not_done")}: ${error.message}`, true);
}

function showTabs() {
  const names = { detail: ui("detail"), faults: `${ui("faults")} ${counts.fault ?? 0}`, air: ui("air"), history: ui("history") };
  fill(byId("tabs"), ...Object.entries(names).map(([name, shown]) => el("button", {
    type: "button", role: "tab", id: `tab-${name}`, "data-key": `tab-${name}`, "aria-selected": String(tab === name), "aria-controls": "pane",
    onclick: () => (name === "history" ? openHistory() : turnTo(name)),
  }, shown)));
}

function showPane(changed = null) {
  const pane = byId("pane");
  pane.setAttribute("aria-labelledby", `tab-${tab}`);
  if (tab === "faults") return showFaults(pane, changed);
  if (tab === "history" && !looked) return showHistory(pane);
  if (tab === "air") return fill(pane, ...air.pane(now(), airFailed));
  const one = looked ?? incidents.get(chosen);
  fill(pane, one ? detail(one, { acts, nowMs: now() }) : el("p", { class: "dim empty" }, ui("choose")));
}

function showFaults(pane, changed) {
  const wanted = faults();
  let list = pane.querySelector("ol");
  if (!list) {
    list = el("ol", { id: "faults" });
    fill(pane, list);
    changed = null;
  }
  showCards(list, wanted, changed);
  pane.querySelector(".rest")?.remove();
  const more = (counts.fault ?? 0) - wanted.length;
  if (!wanted.length) pane.append(el("p", { class: "dim empty rest" }, ui("no_faults")));
  else if (more > 0) pane.append(el("p", { class: "dim rest" }, ui("more_faults", { n: more })));
}

async function openHistory(more = false) {
  try {
    await history.load(more);
  } catch (error) {
    toast(`${ui("not_done")}: ${error.message}`, true);
  }
  looked = null;
  turnTo("history");
}

function showHistory(pane) {
  const rows = history.rows.map((one) => el("li", { class: `past ${one.class}`, "data-past": one.id },
    el("button", { type: "button", class: "quiet", "data-key": `past-${one.id}`, onclick: () => openPast(one.id) },
      el("span", { class: "number" }, moment(one.closed_ms, now())),
      el("b", {}, `${shape(one)} ${word("classes", one.class)}`), el("span", {}, [one.site, shopOf(one)].filter(Boolean).join(" · ")),
      el("span", { class: "chip" }, word("dispositions", one.disposition)), el("span", { class: "dim" }, [one.closed_by, one.note].filter(Boolean).join(": ")))));
  fill(pane, rows.length ? el("ol", { id: "history" }, ...rows) : el("p", { class: "dim empty" }, ui("no_history")),
    history.before ? el("button", { type: "button", "data-key": "more", onclick: () => openHistory(true) }, ui("more")) : "");
}

async function openPast(id) {
  try {
    looked = await get(`/api/incidents/${id}`);
    showPane();
  } catch (error) {
    toast(`${ui("not_done")}: ${error.message}`, true);
  }
}

// ---- live or not

function look() {
  const connected = stream?.look() ?? false;
  const state = stream?.state;
  const was = live;
  live = connected && state.live;
  reasons = !connected ? [ui("no_connection")] : state.trouble.map((t) => (has("trouble", t.name) ? word("trouble", t.name) : t.what));
  document.body.dataset.live = live ? (reasons.length ? "trouble" : "yes") : "no";
  const banner = byId("not-live");
  banner.hidden = live && !reasons.length;
  if (!banner.hidden) {
    const news = !live && state?.state_ms ? ` (${ui("last_news", { time: clock(state.state_ms) })})` : "";
    say(banner, `■ ${ui(live ? "trouble_long" : "not_live_long")} — ${reasons.join(" ")}${news}`);
  }
  say(byId("live"), live ? `● ${ui("live")}` : `■ ${ui("not_live")}`);
  say(byId("nodes"), state?.nodes == null ? "" : ui("nodes_watched", { n: state.nodes }) + (state.silent ? ` · ${ui("nodes_silent", { n: state.silent })}` : ""));
  if (was !== live) for (const button of document.querySelectorAll("[data-act]")) button.disabled = !live;
}

function hint() {
  const off = server ? Math.round((Date.now() - now()) / 1000) : 0;
  const left = me.ends_ms - now();
  const texts = [];
  if (Math.abs(off) * 1000 > CLOCK_OFF_MS) texts.push(ui("clock_off", { n: off }));
  if (left < WARN_MS) texts.push(ui("session_ends", { n: Math.max(0, Math.ceil(left / 60000)) }));
  byId("hint").hidden = !texts.length;
  say(byId("hint"), texts.join(" "));
}

// Twice a second.
function tick() {
  look();
  if (tab === "air" && live) air.look().catch(airFailed);
  const nowMs = now();
  byId("clock").textContent = clock(nowMs);
  for (const one of document.querySelectorAll("[data-since]")) one.textContent = span(nowMs - Number(one.dataset.since));
  for (const one of document.querySelectorAll("[data-held]")) {
    one.textContent = ui(one.dataset.word, { n: Math.max(0, Math.ceil((Number(one.dataset.held) - nowMs) / 1000)) });
  }
  for (const button of document.querySelectorAll("[data-act]")) {
    button.disabled = !live;
    button.title = live ? "" : ui("actions_off");
  }
  const all = [...incidents.values()];
  const waiting = all.filter((one) => isUrgent(one) && !one.ack_ms);
  document.body.dataset.sound = sound.update({
    alarm: waiting.length > 0, notLive: !live || reasons.length > 0, fault: all.some((one) => isFault(one) && !one.ack_ms),
  });
  byId("no-sound").hidden = sound.possible;
  document.body.dataset.soundPossible = sound.possible ? "yes" : "no";
  hint();
  showTitle(waiting);
}

function showTitle(waiting) {
  blink = !blink;
  if (!live) document.title = blink ? `■■■ ${ui("not_live")}` : ui("title");
  else if (waiting.length) document.title = blink ? `${shape(waiting[0])} ${word("classes", waiting[0].class)} ${waiting.length}` : ui("title");
  else document.title = ui("title");
}

// ---- around it

function showFrame() {
  byId("title").textContent = ui("title");
  byId("alarms-title").textContent = ui("open");
  showMore();
  byId("quiet").firstElementChild.textContent = ui("no_alarms");
  byId("quiet").lastElementChild.textContent = ui("all_quiet");
  byId("keys").textContent = me.may_act ? ui("keys") : ui("not_allowed");
  byId("sound-test").textContent = ui("sound_test");
  byId("lang").textContent = ui("language");
  byId("logout").textContent = ui("logout");
  byId("no-sound").textContent = `♪ ${ui("sound_off_long")}`;
  byId("me").textContent = `${me.full_name || me.name} (${word("roles", me.role)})`;
}

async function otherLang() {
  setLang(currentLang() === "ko" ? "en" : "ko");
  showFrame();
  showAll();
  if (tab === "history") showPane();
  await post("/api/lang", { lang: currentLang() }).catch(() => {});
}

function keys(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("dialog").open) return;
  if (event.target.closest("input, textarea, select")) return;
  const focused = document.activeElement.closest?.(".card");
  const one = incidents.get(Number(focused?.dataset.id ?? chosen));
  const key = event.key.toLowerCase();
  if (event.key === "ArrowDown" || event.key === "ArrowUp") move(event, focused, event.key === "ArrowDown" ? 1 : -1);
  else if (key === "a" && one && !one.ack_ms && acts.may) acts.acknowledge(one);
  else if (key === "c" && one && acts.may) acts.close(one);
  else if (event.key === "Enter" && focused && event.target === focused) { chosen = one?.id; turnTo("detail"); }
}

function move(event, focused, by) {
  const cards = [...(focused?.parentElement ?? byId("list")).children];
  if (!cards.length) return;
  event.preventDefault();
  const at = focused ? cards.indexOf(focused) + by : 0;
  cards[Math.min(cards.length - 1, Math.max(0, at))].focus();
}

function startClock() {
  // A worker's address must be vouched for (Trusted Types); this is the only one.
  const policy = window.trustedTypes?.createPolicy("bongsu", { createScriptURL: (url) => (url === "/static/tick.js" ? url : "") });
  const worker = new Worker(policy ? policy.createScriptURL("/static/tick.js") : "/static/tick.js");
  worker.onmessage = tick;
}

await loadWords();
me = await get("/api/me");
setToken(me.token);
setLang(me.lang);
showFrame();
showAll();
byId("no-sound").addEventListener("click", async () => { if (await sound.turnOn()) sound.test(); tick(); });
byId("sound-test").addEventListener("click", async () => { if (await sound.turnOn()) sound.test(); tick(); });
byId("lang").addEventListener("click", otherLang);
byId("logout").addEventListener("click", async () => { await post("/api/logout").catch(() => {}); location.replace("/login"); });
byId("alarms").addEventListener("scroll", showMore);
addEventListener("resize", showMore);
byId("more").addEventListener("click", () => byId("alarms").scrollBy({ top: byId("alarms").clientHeight * 0.8, behavior: "smooth" }));
document.addEventListener("keydown", keys);
stream = new Stream(hear);
startClock();
