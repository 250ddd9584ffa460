// Sorts the table of a batch by the column of a heading; a second click turns the order round.
"use strict";
(() => {
  const body = document.querySelector("tbody");
  const headings = [...document.querySelectorAll("thead th")];

  function compared(kind, first, second) {
    if (kind !== "number") return first.localeCompare(second, undefined, { numeric: true });
    return Number(first) - Number(second);
  }

  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    button.addEventListener("click", () => {
      const turned = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", turned ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.key;
      const rows = [...body.rows].sort((first, second) => {
        if (!key(first) || !key(second)) return Boolean(key(second)) - Boolean(key(first)); // nothing comes last
        return compared(button.dataset.kind, key(first), key(second)) * (turned ? -1 : 1);
      });
      body.append(...rows);
    });
  });
})();
