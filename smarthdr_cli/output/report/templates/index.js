"use strict";
// Sorts the sets of a batch: failures first, then ambiguous sets, then by the chosen figure, the largest first.
(() => {
  const list = document.getElementById("sets");
  const buttons = document.querySelectorAll("button[data-key]");
  const rank = (set) => ({ failed: 0, ambiguous: 1 })[set.dataset.status] ?? 2;

  function sortBy(key) {
    const direction = key === "order" ? 1 : -1;
    const figure = (set) => Number(set.dataset[key] || -1);
    const sets = [...list.children].sort(
      (a, b) =>
        rank(a) - rank(b) ||
        direction * (figure(a) - figure(b)) ||
        Number(a.dataset.order) - Number(b.dataset.order),
    );
    list.append(...sets);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.key === key));
  }

  for (const button of buttons) button.addEventListener("click", () => sortBy(button.dataset.key));
})();
