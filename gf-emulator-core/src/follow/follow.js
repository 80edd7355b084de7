"use strict";
// Keeps the page up to date, and presses the machine's buttons. All markup that comes is made by the report.
{
  const token = new URLSearchParams(location.search).get("token");
  const bar = document.getElementById("live");
  const state = document.getElementById("state");
  const stretches = document.getElementsByClassName("rows");
  const form = document.getElementById("filter");
  const buttons = Array.from(bar.querySelectorAll("button"));
  // Other parts of the page are asked for once in so many milliseconds at the most.
  const PAUSE_MS = 1000;
  // Rows in a stretch, as the report has them.
  const STRETCH = 64;

  let last = Number(stretches[stretches.length - 1]?.lastElementChild?.id.slice(1) ?? 0);
  let asked = 0;
  let due = false;
  let asking = false;

  function tell(words, kind) {
    state.textContent = words;
    state.className = kind;
  }

  // What stays is kept: it may be open, and its pictures are large.
  function replaceActions(section, from) {
    const here = document.getElementById("actions");
    const open = new Set();
    here.querySelectorAll("article").forEach((article, n) => {
      if (n >= from) {
        article.querySelectorAll("details").forEach((part, i) => part.open && open.add(`${article.id} ${i}`));
        article.remove();
      }
    });
    here.querySelector(":scope > .note")?.remove();
    for (const article of section.querySelectorAll(":scope > article, :scope > .note")) {
      here.append(article);
      article.querySelectorAll("details").forEach((part, i) => open.has(`${article.id} ${i}`) && (part.open = true));
      if (article.id) {
        place(article);
      }
    }
  }

  // A row does not know how its action ends, nor always whose it is.
  function place(article) {
    const { action, outcome } = article.dataset;
    for (const link of article.querySelectorAll(".steps a")) {
      const row = document.getElementById(link.hash.slice(1));
      if (row !== null) {
        row.dataset.action = action;
        if (outcome !== "none") {
          row.dataset.outcome = outcome;
        }
        if (outcome !== "none" && !row.classList.contains("trouble")) {
          row.classList.add(outcome);
        }
      }
    }
  }

  function replace(page) {
    for (const id of ["summary", "troubles"]) {
      const [here, there] = [document.getElementById(id), page.getElementById(id)];
      // Somebody may be reading there, or selecting.
      if (here.outerHTML !== there.outerHTML) {
        here.replaceWith(there);
      }
    }
    const links = page.querySelectorAll("nav a");
    document.querySelectorAll("nav a").forEach((link, n) => (link.textContent = links[n].textContent));
    const [here, there] = [form, page.getElementById("filter")].map((form) => form.elements.action);
    for (const option of Array.from(there.options).slice(here.options.length)) {
      here.append(option);
    }
  }

  // The first action that may change still: of those before it nothing is asked.
  function firstOpen() {
    const articles = Array.from(document.querySelectorAll("#actions > article"));
    const n = articles.findIndex((article) => article.dataset.outcome === "none");
    return n < 0 ? articles.length : n;
  }

  async function ask() {
    due = false;
    asking = true;
    asked = performance.now();
    const from = firstOpen();
    try {
      const answer = await fetch(`/sections?token=${token}&from=${from}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // At the end all was told already, and this is older.
      if (answer.ok && events.readyState !== EventSource.CLOSED) {
        replaceActions(page.getElementById("actions"), from);
        replace(page);
        dispatchEvent(new Event("more"));
      }
    } catch {
      // The stream of rows says that nobody is there.
    }
    asking = false;
    if (due) {
      due = false;
      soon();
    }
  }

  function soon() {
    if (!due) {
      due = true;
      if (!asking) {
        setTimeout(ask, Math.max(0, asked + PAUSE_MS - performance.now()));
      }
    }
  }

  // Where the next row goes.
  function stretch() {
    const end = stretches[stretches.length - 1];
    if (end !== undefined && end.childElementCount < STRETCH) {
      return end;
    }
    const next = document.createElement("div");
    next.className = "rows";
    document.getElementById("conversation").append(next);
    return next;
  }

  function add(event) {
    const n = Number(event.lastEventId);
    if (n <= last) {
      return;
    }
    last = n;
    const end = document.documentElement;
    const atEnd = end.scrollHeight - end.clientHeight - scrollY < 80;
    const row = document.createElement("template");
    row.innerHTML = event.data;
    stretch().append(row.content);
    if (atEnd) {
      scrollTo(0, end.scrollHeight);
    }
    dispatchEvent(new Event("more"));
    soon();
  }

  async function press(button) {
    const from = button.textContent;
    buttons.forEach((other) => (other.disabled = true));
    let refused = "";
    try {
      const { do: what, how } = button.dataset;
      const answer = await fetch(what, { method: "POST", headers: { "X-Token": token }, body: how ?? "" });
      refused = answer.ok ? "" : await answer.text();
    } catch {
      refused = "nobody answers";
    }
    if (events.readyState !== EventSource.CLOSED) {
      buttons.forEach((other) => (other.disabled = false));
      button.focus();
    }
    if (refused !== "") {
      tell(`${from}: ${refused}`, "lost");
    }
  }

  const events = new EventSource(`/events?token=${token}&after=${last}`);
  events.addEventListener("open", () => tell("live", "live"));
  events.addEventListener("message", add);
  events.addEventListener("error", () => {
    const closed = events.readyState === EventSource.CLOSED;
    tell(closed ? "not connected: open the page again" : "not connected: trying again", "lost");
  });
  events.addEventListener("over", (event) => {
    events.close();
    if (event.data !== "") {
      replace(new DOMParser().parseFromString(event.data, "text/html"));
    }
    buttons.forEach((button) => (button.disabled = true));
    tell("over: the machine has stopped", "");
  });
  for (const button of buttons) {
    button.addEventListener("click", () => press(button));
  }
}
