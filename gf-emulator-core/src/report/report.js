"use strict";
// Filter and search. Reading the page needs none of it.
{
  const form = document.getElementById("filter");
  const fields = form.elements;
  // What is searched, lower case: made when somebody searches.
  const texts = new WeakMap();
  // Which items are shown, and how many of each kind.
  const shown = new Map();
  const counts = { ARTICLE: 0, DETAILS: 0 };
  let due = 0;

  const ticked = (name) => new Set(Array.from(fields[name]).filter((box) => box.checked).map((box) => box.value));

  function wish() {
    return {
      words: fields.words.value.toLowerCase().split(/\s+/).filter(Boolean),
      action: fields.action.value,
      channels: ticked("channel"),
      outcomes: ticked("outcome"),
    };
  }

  function textOf(item) {
    let text = texts.get(item);
    if (text === undefined) {
      text = item.textContent.toLowerCase();
      texts.set(item, text);
    }
    return text;
  }

  function isWanted(item, { words, action, channels, outcomes }) {
    const data = item.dataset;
    return (
      (action === "" || data.action === action) &&
      (data.channel === undefined || channels.has(data.channel)) &&
      outcomes.has(data.outcome) &&
      (words.length === 0 || words.every((word) => textOf(item).includes(word)))
    );
  }

  function show(item, wanted) {
    const was = shown.get(item);
    if (was !== wanted) {
      counts[item.tagName] += (wanted ? 1 : 0) - (was ? 1 : 0);
      shown.set(item, wanted);
    }
    if (item.hidden === wanted) {
      item.hidden = !wanted;
    }
  }

  // So many rows have about this height: what is not in sight is not laid out.
  function size(stretch) {
    const rows = stretch.querySelectorAll(".row:not([hidden])").length;
    stretch.hidden = rows === 0;
    stretch.style.containIntrinsicHeight = `${2.27 * rows}rem`;
  }

  function tell() {
    fields.shown.value = `${counts.ARTICLE} actions, ${counts.DETAILS} rows`;
  }

  function filter() {
    due = 0;
    const wished = wish();
    for (const item of document.querySelectorAll("article, .row")) {
      show(item, isWanted(item, wished));
    }
    document.querySelectorAll(".rows").forEach(size);
    tell();
  }

  // Once a frame at the most, however fast somebody types.
  function soon() {
    if (due === 0) {
      due = requestAnimationFrame(filter);
    }
  }

  // A link to what is filtered out shows it again.
  function follow() {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.closest("[hidden]")) {
      target.hidden = false;
      target.parentElement.hidden = false;
      target.scrollIntoView();
    }
  }

  form.addEventListener("input", soon);
  // Not every way to choose makes an input event. For text the other one comes late, when the field is left.
  fields.action.addEventListener("change", soon);
  form.addEventListener("reset", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", follow);
  // Of a page that is written while things happen: which items are new or changed, and which are gone.
  addEventListener("more", ({ detail: { items, gone } }) => {
    const wished = wish();
    const stretches = new Set();
    for (const item of gone) {
      counts[item.tagName] -= shown.get(item) ? 1 : 0;
      shown.delete(item);
    }
    for (const item of items) {
      show(item, isWanted(item, wished));
      if (item.tagName === "DETAILS") {
        stretches.add(item.parentElement);
      }
    }
    stretches.forEach(size);
    tell();
  });
  form.hidden = false;
  filter();
}
