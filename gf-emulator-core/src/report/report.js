"use strict";
// Filter and search. The page is readable without it.
{
  const form = document.getElementById("filter");
  const fields = form.elements;
  // The lower-case text of each item, cached at its first search.
  const texts = new WeakMap();
  // Whether each item is visible, and the number of visible articles and rows.
  const visible = new Map();
  const counts = { ARTICLE: 0, DETAILS: 0 };
  let frame = 0;

  const checkedValues = (name) =>
    new Set(Array.from(fields[name]).filter((box) => box.checked).map((box) => box.value));

  function readFilter() {
    return {
      words: fields.words.value.toLowerCase().split(/\s+/).filter(Boolean),
      action: fields.action.value,
      channels: checkedValues("channel"),
      outcomes: checkedValues("outcome"),
    };
  }

  // Searches the text, and the action's type: "print" finds the download of its job. The type is not cached, since a
  // live page may set it later.
  function contains(item, word) {
    let text = texts.get(item);
    if (text === undefined) {
      text = item.textContent.toLowerCase();
      texts.set(item, text);
    }
    return text.includes(word) || (item.dataset.action ?? "").toLowerCase().includes(word);
  }

  function matches(item, { words, action, channels, outcomes }) {
    const data = item.dataset;
    return (
      (action === "" || data.action === action) &&
      (data.channel === undefined || channels.has(data.channel)) &&
      outcomes.has(data.outcome) &&
      words.every((word) => contains(item, word))
    );
  }

  function setVisible(item, isVisible) {
    const wasVisible = visible.get(item);
    if (wasVisible !== isVisible) {
      counts[item.tagName] += (isVisible ? 1 : 0) - (wasVisible ? 1 : 0);
      visible.set(item, isVisible);
    }
    if (item.hidden === isVisible) {
      item.hidden = !isVisible;
    }
  }

  // Estimates the height of a block of rows, which the browser does not lay out while it is out of sight.
  function resizeBlock(block) {
    const rows = block.querySelectorAll(".row:not([hidden])").length;
    block.hidden = rows === 0;
    block.style.containIntrinsicHeight = `${2.27 * rows}rem`;
  }

  const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

  function showCounts() {
    fields.shown.value = `${counted(counts.ARTICLE, "action")}, ${counted(counts.DETAILS, "row")}`;
  }

  function filterAll() {
    frame = 0;
    const filter = readFilter();
    for (const item of document.querySelectorAll("article, .row")) {
      setVisible(item, matches(item, filter));
    }
    document.querySelectorAll(".rows").forEach(resizeBlock);
    showCounts();
  }

  // At most once per frame, however fast somebody types.
  function scheduleFilter() {
    if (frame === 0) {
      frame = requestAnimationFrame(filterAll);
    }
  }

  // Shows the target of a link even if the filter hides it.
  function revealTarget() {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.closest("[hidden]")) {
      target.hidden = false;
      target.parentElement.hidden = false;
      target.scrollIntoView();
    }
  }

  form.addEventListener("input", scheduleFilter);
  // Some browsers send no input event for a selection.
  fields.action.addEventListener("change", scheduleFilter);
  form.addEventListener("reset", scheduleFilter);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", revealTarget);
  // Sent by a live page: items that are new or changed, and items that were removed.
  addEventListener("items", ({ detail: { added, removed } }) => {
    const filter = readFilter();
    const blocks = new Set();
    for (const item of removed) {
      counts[item.tagName] -= visible.get(item) ? 1 : 0;
      visible.delete(item);
    }
    for (const item of added) {
      setVisible(item, matches(item, filter));
      if (item.tagName === "DETAILS") {
        blocks.add(item.parentElement);
      }
    }
    blocks.forEach(resizeBlock);
    showCounts();
  });
  form.hidden = false;
  filterAll();
}
