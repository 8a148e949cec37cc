// The login page.

import { byId } from "./dom.js";
import { currentLang, loadWords, setLang, ui } from "./words.js";
import { get, post, setToken } from "./api.js";

const LANG = "bongsu-lang";

function remembered() {
  try {
    return localStorage.getItem(LANG);
  } catch {
    return null;
  }
}

function show() {
  for (const one of document.querySelectorAll("[data-word]")) {
    const target = one.tagName === "SPAN" || one.tagName === "BUTTON" ? one : one.firstElementChild;
    target.textContent = ui(one.dataset.word);
  }
  byId("title").textContent = ui("title");
  document.title = ui("title");
  byId("nobody").firstElementChild.textContent = ui("no_operators");
}

async function prepare() {
  const form = await get("/api/login");
  setToken(form.token);
  byId("nobody").hidden = form.operators;
}

async function enter(event) {
  event.preventDefault();
  const button = byId("form").querySelector("button");
  button.disabled = true;
  byId("problem").textContent = "";
  try {
    await post("/api/login", { name: byId("name").value, password: byId("password").value });
    location.replace("/");
    return;
  } catch (error) {
    if (error.status === undefined) byId("problem").textContent = ui("cannot_reach");
    else if (error.content.wait_s) byId("problem").textContent = ui("too_many_tries", { n: error.content.wait_s });
    else if (error.content.error === "wrong_login") byId("problem").textContent = ui("wrong_login");
    else byId("problem").textContent = `${ui("not_done")}: ${error.message}`;
    byId("password").value = "";
    byId("password").focus();
    await prepare().catch(() => {});
  }
  button.disabled = false;
}

await loadWords();
setLang(remembered() ?? (navigator.language.startsWith("en") ? "en" : "ko"));
show();
byId("lang").addEventListener("click", () => {
  setLang(currentLang() === "ko" ? "en" : "ko");
  try {
    localStorage.setItem(LANG, currentLang());
  } catch { /* without a memory it is chosen again */ }
  show();
});
byId("form").addEventListener("submit", enter);
await prepare();
byId("enter").disabled = false; // a click before this would leave the page with the password
byId("name").focus();
document.body.dataset.ready = "yes";
