// Requests. Whoever is not logged in any more is sent to the login page.

let token = "";

export const setToken = (wanted) => { token = wanted; };

export async function get(path) {
  return answerOf(await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" }));
}

export async function post(path, content = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-bongsu-token": token },
    body: JSON.stringify(content),
  });
  return answerOf(answer);
}

async function answerOf(answer) {
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  if (answer.status === 401) location.replace("/login");
  throw Object.assign(new Error(content.error ?? `HTTP ${answer.status}`), { status: answer.status, content });
}
