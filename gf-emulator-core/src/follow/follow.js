"use strict";
// Keeps the page up to date, and presses the machine's buttons. All markup that comes is made by the report.
{
  // The token leaves the address bar. Opened again, the page has it from the session storage, which is this tab's alone.
  const token = new URLSearchParams(location.search).get("token");
  try {
    sessionStorage.setItem("token", token);
    history.replaceState(null, "", location.pathname + location.hash);
  } catch {
    // Where nothing can be stored, opening it again needs the token where it is.
  }

  const bar = document.getElementById("live");
  const state = document.getElementById("state");
  const conversation = document.getElementById("conversation");
  const form = document.getElementById("filter");
  const buttons = Array.from(bar.querySelectorAll("button"));
  // Other parts of the page are asked for once in so many milliseconds at the most.
  const PAUSE_MS = 1000;
  // Pauses before connecting again.
  const FIRST_RETRY_MS = 1000;
  const LAST_RETRY_MS = 15000;
  // Rows in a stretch, as the report has them; so many are added in one frame.
  const STRETCH = 64;
  // The oldest go when there are more.
  const MOST_ROWS = 20000;
  const MOST_ARTICLES = 2000;

  const stretches = Array.from(conversation.querySelectorAll(".rows"), (element) => ({
    element,
    rows: element.childElementCount,
  }));
  let rows = stretches.reduce((sum, stretch) => sum + stretch.rows, 0);
  let dropped = 0;
  // The number of the last row that has come.
  let last = Number(stretches.at(-1)?.element.lastElementChild?.id.slice(1) ?? 0);
  // Rows that are not on the page yet.
  let waiting = [];
  let taken = 0;
  let framed = false;
  // What there was to say at the end.
  let over = null;
  let socket = null;
  let retryMs = FIRST_RETRY_MS;
  let asked = 0;
  let due = false;
  let asking = false;

  const parse = (text) => new DOMParser().parseFromString(text, "text/html");

  function tell(words, kind) {
    state.textContent = words;
    state.className = kind;
  }

  function more(items, gone) {
    dispatchEvent(new CustomEvent("more", { detail: { items, gone } }));
  }

  // What has not changed is not sent: it may be open, and its pictures are large.
  function replaceActions(section) {
    const here = document.getElementById("actions");
    const items = [];
    const gone = [];
    for (const article of section.querySelectorAll(":scope > article")) {
      const old = document.getElementById(article.id);
      if (old !== null) {
        const open = Array.from(old.querySelectorAll("details"), (part) => part.open);
        article.querySelectorAll("details").forEach((part, i) => open[i] && (part.open = true));
        old.replaceWith(article);
        gone.push(old);
      } else {
        here.append(article);
      }
      items.push(article, ...place(article));
    }
    const articles = here.querySelectorAll(":scope > article");
    for (const old of Array.from(articles).slice(0, -MOST_ARTICLES)) {
      old.remove();
      gone.push(old);
    }
    here.querySelectorAll(":scope > .note").forEach((note) => note.remove());
    here.querySelector("h2").after(...section.querySelectorAll(":scope > .note"));
    here.dataset.entries = section.dataset.entries;
    more(items, gone);
  }

  // A row does not know how its action ends, nor always whose it is. Gives the rows that have changed.
  function place(article) {
    const { action, outcome } = article.dataset;
    const changed = [];
    for (const link of article.querySelectorAll(".steps a")) {
      const row = document.getElementById(link.hash.slice(1));
      if (row === null || (row.dataset.action === action && (outcome === "none" || row.dataset.outcome === outcome))) {
        continue;
      }
      row.dataset.action = action;
      if (outcome !== "none") {
        row.dataset.outcome = outcome;
        if (!row.classList.contains("trouble")) {
          row.classList.add(outcome);
        }
      }
      changed.push(row);
    }
    return changed;
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
    const known = new Set(Array.from(here.options, (option) => option.value));
    for (const option of Array.from(there.options)) {
      if (!known.has(option.value)) {
        here.append(option);
      }
    }
  }

  async function ask() {
    due = false;
    asking = true;
    asked = performance.now();
    const since = document.getElementById("actions").dataset.entries;
    // They have pictures or drawings that were not there when they were sent.
    const again = Array.from(document.querySelectorAll("#actions > article:has(.pending)"), (one) => one.id.slice(1));
    try {
      const answer = await fetch(`/sections?token=${token}&since=${since}&again=${again.slice(0, 500).join(",")}`);
      const page = parse(await answer.text());
      // At the end all was told already, and this is older.
      if (answer.ok && over === null) {
        replaceActions(page.getElementById("actions"));
        replace(page);
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

  // Puts rows on the page in the next frame. In a tab that nobody sees there are no frames.
  function frame() {
    if (!framed) {
      framed = true;
      if (document.hidden) {
        setTimeout(add, 0);
      } else {
        requestAnimationFrame(add);
      }
    }
  }

  // A few rows at a time, so that the buttons answer meanwhile; nothing here looks at all rows.
  function add() {
    framed = false;
    const end = document.documentElement;
    const atEnd = end.scrollHeight - end.clientHeight - scrollY < 80;
    if (stretches.length === 0 || stretches.at(-1).rows >= STRETCH) {
      const element = document.createElement("div");
      element.className = "rows";
      conversation.append(element);
      stretches.push({ element, rows: 0 });
    }
    const stretch = stretches.at(-1);
    const batch = waiting.slice(taken, taken + STRETCH - stretch.rows);
    taken += batch.length;
    if (taken === waiting.length) {
      waiting = [];
      taken = 0;
    }
    const template = document.createElement("template");
    template.innerHTML = batch.join("");
    const items = Array.from(template.content.children);
    stretch.element.append(template.content);
    stretch.rows += items.length;
    rows += items.length;
    more(items, drop());
    if (atEnd) {
      scrollTo(0, end.scrollHeight);
    }
    if (waiting.length > 0) {
      frame();
    } else if (over !== null) {
      finish();
    } else {
      soon();
    }
  }

  // Takes the oldest rows off the page while there are too many. Gives those that are gone.
  function drop() {
    const gone = [];
    while (rows > MOST_ROWS && stretches.length > 1) {
      const [stretch] = stretches.splice(0, 1);
      gone.push(...stretch.element.children);
      stretch.element.remove();
      rows -= stretch.rows;
      dropped += stretch.rows;
    }
    if (gone.length > 0) {
      let note = document.getElementById("dropped");
      if (note === null) {
        note = document.createElement("p");
        note.id = "dropped";
        note.className = "note";
        conversation.querySelector(".lifelines").before(note);
      }
      note.textContent = `${dropped} earlier rows are off this page now: a page has ${MOST_ROWS} at the most. They are in the recording.`;
    }
    return gone;
  }

  function finish() {
    if (over !== "") {
      replace(parse(over));
    }
    buttons.forEach((button) => (button.disabled = true));
    tell("over: the machine has stopped", "");
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
    if (over === null) {
      buttons.forEach((other) => (other.disabled = false));
      button.focus();
    }
    if (refused !== "") {
      tell(`${from}: ${refused}`, "lost");
    }
  }

  function hear({ data }) {
    const news = JSON.parse(data);
    if (news.over !== undefined) {
      over = news.over;
      frame();
    } else if (news.pictures) {
      soon();
    } else if (news.n > last) {
      last = news.n;
      waiting.push(news.row);
      frame();
    }
  }

  function connect() {
    socket = new WebSocket(`ws://${location.host}/rows?token=${token}&after=${last}`);
    socket.addEventListener("open", () => {
      retryMs = FIRST_RETRY_MS;
      tell("live", "live");
    });
    socket.addEventListener("message", hear);
    socket.addEventListener("close", () => {
      if (over === null) {
        tell("not connected: trying again", "lost");
        setTimeout(connect, retryMs);
        retryMs = Math.min(2 * retryMs, LAST_RETRY_MS);
      }
    });
  }

  connect();
  for (const button of buttons) {
    button.addEventListener("click", () => press(button));
  }
}
