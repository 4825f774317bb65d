"use strict";
// Only hides and shows what the page holds: without scripts everything is there to read.
(() => {
  const controls = document.getElementById("controls");
  const runs = [...document.querySelectorAll("section.run")];
  const tabs = [...controls.querySelectorAll(".tabs button")];
  const text = document.getElementById("text");
  const outcome = document.getElementById("outcome");
  const count = document.getElementById("count");
  const words = new WeakMap();
  let shown = Math.max(0, runs.findIndex((run) => run.dataset.edited));

  const wordsOf = (row) => {
    if (!words.has(row)) words.set(row, row.textContent.toLowerCase());
    return words.get(row);
  };
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    const rows = [...runs[shown].querySelectorAll(".cases > details")];
    let left = 0;
    for (const row of rows) {
      const fits = !outcome.value || row.classList.contains(outcome.value);
      row.hidden = !fits || !wordsOf(row).includes(wanted);
      if (!row.hidden) left += 1;
    }
    count.textContent = left + " of " + rows.length + " cases";
  };
  const show = (at) => {
    shown = at;
    runs.forEach((run, i) => { run.hidden = i !== at; });
    tabs.forEach((tab, i) => { tab.setAttribute("aria-pressed", String(i === at)); });
    filter();
  };

  if (runs.length === 0) return;
  tabs.forEach((tab, i) => { tab.addEventListener("click", () => show(i)); });
  text.addEventListener("input", filter);
  outcome.addEventListener("change", filter);
  controls.hidden = false;
  show(shown);
})();
