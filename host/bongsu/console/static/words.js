// Words in the operator's language, and how values, times and places are written.

let table = {};
let lang = "ko";

export async function loadWords() {
  const answer = await fetch("/words.json");
  table = await answer.json();
}

export function setLang(wanted) {
  lang = wanted === "en" ? "en" : "ko";
  document.documentElement.lang = lang;
}

export const currentLang = () => lang;

// word("ui", "round", {n: 2}); what has no word is shown by its name.
export function word(group, name, values = {}) {
  const found = table[group]?.[name]?.[lang] ?? String(name ?? "").replaceAll("_", " ");
  return found.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

export const ui = (name, values) => word("ui", name, values);
export const has = (group, name) => table[group]?.[name] !== undefined;

const pad = (n) => String(n).padStart(2, "0");

export function clock(ms) {
  if (!ms) return "-";
  const at = new Date(ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

// With the day, where it is not today.
export function moment(ms, nowMs) {
  if (!ms) return "-";
  const at = new Date(ms);
  const sameDay = at.toDateString() === new Date(nowMs).toDateString();
  return sameDay ? clock(ms) : `${at.getMonth() + 1}/${at.getDate()} ${clock(ms)}`;
}

export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  if (h >= 24) return lang === "ko" ? `${Math.floor(h / 24)}일 ${h % 24}시간` : `${Math.floor(h / 24)} d ${h % 24} h`;
  return h ? `${h}:${pad(m)}:${pad(s % 60)}` : `${pad(m)}:${pad(s % 60)}`;
}

const UNITS = [[" degC", " °C"], [" 1/m", " /m"]];
export function value(text) {
  return UNITS.reduce((shown, [from, to]) => shown.replace(from, to), String(text));
}

export function values(found) {
  return Object.entries(found ?? {}).map(([name, shown]) => `${word("readings", name)} ${value(shown)}`).join(" · ");
}

// "heat+smoke" of an event, or a list of names that stand.
export function names(found) {
  const list = Array.isArray(found) ? found : String(found ?? "").split("+").filter(Boolean);
  return list.map((name) => (has("phenomena", name) ? word("phenomena", name) : word("faults", name))).join(" · ");
}

export function shopOf(incident) {
  if (incident.name) return incident.name;
  const [kind, id] = String(incident.subject).split(/:(.*)/);
  if (kind === "receiver") return `${ui("receiver")} ${id}`;
  if (kind === "site") return incident.site ?? `${ui("site")} ${id}`;
  return `${ui(incident.unassigned ? "unassigned" : "node")} ${id}`;
}

export function placeOf(incident) {
  const unit = incident.subject.startsWith("unit:") ? incident.subject.split("/")[1].toUpperCase() : "";
  const bare = /^[BbFf]?-?\d+$/.test(incident.floor ?? ""); // a number; "1층" and words stay as they are
  const floor = incident.floor ? (bare ? ui("floor", { n: incident.floor }) : incident.floor) : "";
  const stall = incident.stall ? ui("stall", { n: incident.stall }) : "";
  return [...new Set([unit, floor, stall, incident.place].filter(Boolean))].join(" · ");
}
