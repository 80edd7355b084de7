"use strict";
// Keeps the page up to date, and sends button presses to the machine. All markup comes from the report.
{
  // Removes the token from the address bar. The tab's session storage keeps it for a reload.
  const token = new URLSearchParams(location.search).get("token");
  try {
    sessionStorage.setItem("token", token);
    history.replaceState(null, "", location.pathname + location.hash);
  } catch {
    // Without storage, a reload needs the token in the address bar.
  }

  const bar = document.getElementById("live");
  const status = document.getElementById("status");
  const answer = document.getElementById("answer");
  const conversation = document.getElementById("conversation");
  const form = document.getElementById("filter");
  const buttons = Array.from(bar.querySelectorAll("button"));
  // The least time between two requests for the sections.
  const REFRESH_INTERVAL_MS = 1000;
  // The wait before reconnecting, doubled after each failure.
  const FIRST_RETRY_MS = 1000;
  const MAX_RETRY_MS = 15000;
  // Rows per block, as in the report; also the most rows added in one frame.
  const BLOCK_ROWS = 64;
  // The oldest are removed when there are more.
  const MAX_ROWS = 20000;
  const MAX_ACTIONS = 2000;

  const blocks = Array.from(conversation.querySelectorAll(".rows"), (element) => ({
    element,
    rows: element.childElementCount,
  }));
  let rowCount = blocks.reduce((sum, block) => sum + block.rows, 0);
  let removedCount = 0;
  // The number of the last row received.
  let last = Number(blocks.at(-1)?.element.lastElementChild?.id.slice(1) ?? 0);
  // Received rows; those before `queueStart` are on the page.
  let queue = [];
  let queueStart = 0;
  let hasFrame = false;
  // The final sections, once the session has ended.
  let finalSections = null;
  let retryMs = FIRST_RETRY_MS;
  let refreshedAt = 0;
  let isRefreshDue = false;
  let isRefreshing = false;
  // Whether the page is connected to the program.
  let isConnected = false;

  const parse = (text) => new DOMParser().parseFromString(text, "text/html");

  function showStatus(text, kind) {
    status.textContent = text;
    status.className = kind;
  }

  // Shows only the buttons that are of use now, and whether the service is away.
  function applyState() {
    const { connection, lid, waits } = document.getElementById("state").dataset;
    for (const button of buttons) {
      const { path, body } = button.dataset;
      button.hidden = path === "/lid" && (body === "open") === (lid === "open");
      button.classList.toggle("wanted", path === "/button" && waits !== undefined);
    }
    if (isConnected) {
      showStatus(connection === "up" ? "live" : "live, without service", connection === "up" ? "live" : "lost");
    }
  }

  // Tells the filter about changes.
  function notify(added, removed) {
    dispatchEvent(new CustomEvent("items", { detail: { added, removed } }));
  }

  // Inserts the actions that have changed. Others are not sent: they may be open, and their pictures are large.
  function updateActions(section) {
    const actions = document.getElementById("actions");
    const added = [];
    const removed = [];
    for (const article of section.querySelectorAll(":scope > article")) {
      const old = document.getElementById(article.id);
      if (old !== null) {
        const open = Array.from(old.querySelectorAll("details"), (details) => details.open);
        article.querySelectorAll("details").forEach((details, i) => open[i] && (details.open = true));
        old.replaceWith(article);
        removed.push(old);
      } else {
        actions.append(article);
      }
      added.push(article, ...updateRows(article));
    }
    const articles = actions.querySelectorAll(":scope > article");
    for (const old of Array.from(articles).slice(0, -MAX_ACTIONS)) {
      old.remove();
      removed.push(old);
    }
    actions.querySelectorAll(":scope > .note").forEach((note) => note.remove());
    actions.querySelector("h2").after(...section.querySelectorAll(":scope > .note"));
    actions.dataset.entries = section.dataset.entries;
    notify(added, removed);
  }

  // Sets the action and outcome of an action's rows, which were sent before both were known. Returns the changed rows.
  function updateRows(article) {
    const { action, outcome } = article.dataset;
    const changed = [];
    for (const link of article.querySelectorAll(".entries a")) {
      const row = document.getElementById(link.hash.slice(1));
      if (row === null || (row.dataset.action === action && (outcome === "none" || row.dataset.outcome === outcome))) {
        continue;
      }
      row.dataset.action = action;
      if (outcome !== "none") {
        row.dataset.outcome = outcome;
        if (!row.classList.contains("problem")) {
          row.classList.add(outcome);
        }
      }
      changed.push(row);
    }
    return changed;
  }

  function updateSections(page) {
    for (const id of ["state", "summary", "problems"]) {
      const [old, updated] = [document.getElementById(id), page.getElementById(id)];
      // Keeps the selection if nothing has changed.
      if (old.outerHTML !== updated.outerHTML) {
        old.replaceWith(updated);
      }
    }
    applyState();
    const links = page.querySelectorAll("nav a");
    document.querySelectorAll("nav a").forEach((link, n) => (link.textContent = links[n].textContent));
    const [old, updated] = [form, page.getElementById("filter")].map((filter) => filter.elements.action);
    const known = new Set(Array.from(old.options, (option) => option.value));
    for (const option of Array.from(updated.options)) {
      if (!known.has(option.value)) {
        old.append(option);
      }
    }
  }

  async function refresh() {
    isRefreshDue = false;
    isRefreshing = true;
    refreshedAt = performance.now();
    const since = document.getElementById("actions").dataset.entries;
    // Actions that had incomplete pictures or drawings.
    const pending = Array.from(document.querySelectorAll("#actions > article:has(.pending)"), (one) => one.id.slice(1));
    try {
      const response = await fetch(`/sections?token=${token}&since=${since}&also=${pending.slice(0, 500).join(",")}`);
      const page = parse(await response.text());
      // The final sections are newer.
      if (response.ok && finalSections === null) {
        updateActions(page.getElementById("actions"));
        updateSections(page);
      }
    } catch {
      // The WebSocket reports a lost connection.
    }
    isRefreshing = false;
    if (isRefreshDue) {
      isRefreshDue = false;
      scheduleRefresh();
    }
  }

  function scheduleRefresh() {
    if (!isRefreshDue) {
      isRefreshDue = true;
      if (!isRefreshing) {
        setTimeout(refresh, Math.max(0, refreshedAt + REFRESH_INTERVAL_MS - performance.now()));
      }
    }
  }

  // Background tabs have no animation frames.
  function scheduleRows() {
    if (!hasFrame) {
      hasFrame = true;
      if (document.hidden) {
        setTimeout(addRows, 0);
      } else {
        requestAnimationFrame(addRows);
      }
    }
  }

  // Adds a few rows at a time, so that the buttons stay responsive. Nothing here visits all rows.
  function addRows() {
    hasFrame = false;
    const root = document.documentElement;
    const isAtEnd = root.scrollHeight - root.clientHeight - scrollY < 80;
    if (blocks.length === 0 || blocks.at(-1).rows >= BLOCK_ROWS) {
      const element = document.createElement("div");
      element.className = "rows";
      conversation.append(element);
      blocks.push({ element, rows: 0 });
    }
    const block = blocks.at(-1);
    const batch = queue.slice(queueStart, queueStart + BLOCK_ROWS - block.rows);
    queueStart += batch.length;
    if (queueStart === queue.length) {
      queue = [];
      queueStart = 0;
    }
    const template = document.createElement("template");
    template.innerHTML = batch.join("");
    const added = Array.from(template.content.children);
    block.element.append(template.content);
    block.rows += added.length;
    rowCount += added.length;
    notify(added, removeOldRows());
    if (isAtEnd) {
      scrollTo(0, root.scrollHeight);
    }
    if (queue.length > 0) {
      scheduleRows();
    } else if (finalSections !== null) {
      finish();
    } else {
      scheduleRefresh();
    }
  }

  // Removes the oldest blocks while there are too many rows. Returns the removed rows.
  function removeOldRows() {
    const removed = [];
    while (rowCount > MAX_ROWS && blocks.length > 1) {
      const [block] = blocks.splice(0, 1);
      removed.push(...block.element.children);
      block.element.remove();
      rowCount -= block.rows;
      removedCount += block.rows;
    }
    if (removed.length > 0) {
      let note = document.getElementById("removed");
      if (note === null) {
        note = document.createElement("p");
        note.id = "removed";
        note.className = "note";
        conversation.querySelector(".lifelines").before(note);
      }
      note.textContent = `${removedCount} earlier rows were removed: the limit is ${MAX_ROWS} per page. They are in the recording.`;
    }
    return removed;
  }

  function finish() {
    isConnected = false;
    answer.value = "";
    if (finalSections !== "") {
      updateSections(parse(finalSections));
    }
    buttons.forEach((button) => (button.disabled = true));
    bar.querySelector("details").hidden = true;
    showStatus("the machine has stopped", "");
  }

  async function press(button) {
    buttons.forEach((other) => (other.disabled = true));
    let error = "";
    const { path, body } = button.dataset;
    try {
      const response = await fetch(path, { method: "POST", headers: { "X-Token": token }, body: body ?? "" });
      error = response.ok ? "" : await response.text();
    } catch {
      error = "no response";
    }
    if (finalSections === null) {
      buttons.forEach((other) => (other.disabled = false));
      button.focus();
    }
    answer.value = error === "" ? button.dataset.answer : `${button.textContent}: ${error}`;
    if (error === "" && body !== undefined && finalSections === null) {
      document.getElementById("state").dataset.lid = body === "open" ? "open" : "closed";
      applyState();
      // Without a connection to the service, no row will come.
      scheduleRefresh();
    }
  }

  function receive({ data }) {
    const message = JSON.parse(data);
    if (message.end !== undefined) {
      finalSections = message.end;
      scheduleRows();
    } else if (message.attachments) {
      scheduleRefresh();
    } else if (message.n > last) {
      last = message.n;
      queue.push(message.row);
      scheduleRows();
    }
  }

  function connect() {
    const socket = new WebSocket(`ws://${location.host}/rows?token=${token}&after=${last}`);
    socket.addEventListener("open", () => {
      retryMs = FIRST_RETRY_MS;
      isConnected = true;
      applyState();
    });
    socket.addEventListener("message", receive);
    socket.addEventListener("close", () => {
      isConnected = false;
      if (finalSections === null) {
        showStatus("connection lost, retrying", "lost");
        setTimeout(connect, retryMs);
        retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
      }
    });
  }

  applyState();
  connect();
  for (const button of buttons) {
    button.addEventListener("click", () => press(button));
  }
}
