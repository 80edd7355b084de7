"use strict";
// Filter and search. Reading the page needs none of it.
{
  const form = document.getElementById("filter");
  const fields = form.elements;
  const all = () => Array.from(document.querySelectorAll("article, .row"));
  let items = all();
  const stretches = document.getElementsByClassName("rows");
  // What is searched, lower case: made when somebody searches.
  let texts = null;
  let due = 0;

  const ticked = (name) => new Set(Array.from(fields[name]).filter((box) => box.checked).map((box) => box.value));

  function filter() {
    due = 0;
    const words = fields.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const action = fields.action.value;
    const channels = ticked("channel");
    const outcomes = ticked("outcome");
    if (words.length > 0 && texts === null) {
      texts = items.map((item) => item.textContent.toLowerCase());
    }
    const shown = { ARTICLE: 0, DETAILS: 0 };
    items.forEach((item, i) => {
      const data = item.dataset;
      const wanted =
        (action === "" || data.action === action) &&
        (data.channel === undefined || channels.has(data.channel)) &&
        outcomes.has(data.outcome) &&
        words.every((word) => texts[i].includes(word));
      item.hidden = !wanted;
      shown[item.tagName] += wanted ? 1 : 0;
    });
    // So many rows have about this height: what is not in sight is not laid out.
    for (const stretch of stretches) {
      const rows = stretch.querySelectorAll(".row:not([hidden])").length;
      stretch.hidden = rows === 0;
      stretch.style.containIntrinsicHeight = `${2.27 * rows}rem`;
    }
    fields.shown.value = `${shown.ARTICLE} actions, ${shown.DETAILS} rows`;
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
  // Of a page that is written while things happen.
  addEventListener("more", () => {
    items = all();
    texts = null;
    soon();
  });
  form.hidden = false;
  filter();
}
