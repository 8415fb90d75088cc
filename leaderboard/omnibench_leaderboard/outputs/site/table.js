"use strict";
// Sorting after the W3C's sortable-table pattern, and filtering. Without this file the tables
// stand as they were built: best first.

function key(row, index) {
  const cell = row.cells[index];
  if (!cell) return null;
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  return text === "–" || text === "" ? null : text;
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sort(table, index) {
  const headers = [...table.tHead.rows[0].cells];
  const header = headers[index];
  const numeric = header.classList.contains("number");
  const before = header.getAttribute("aria-sort");
  // Numbers begin with the largest: that is what a reader of results looks for.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = before === first ? other : first;
  headers.forEach((each) => each.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, index), row]);
  rows.sort(([a], [b]) => {
    // What is missing stays last in both directions.
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(header.firstChild);
    header.prepend(button);
    button.addEventListener("click", () => sort(table, index));
  });
}

function makeFilter(place) {
  const table = document.getElementById(place.dataset.table);
  const rows = [...table.querySelectorAll("tbody tr")];
  const search = document.createElement("input");
  search.type = "search";
  const searchLabel = document.createElement("label");
  searchLabel.append("Filter encoders ", search);
  const commercial = document.createElement("input");
  commercial.type = "checkbox";
  const commercialLabel = document.createElement("label");
  commercialLabel.append(commercial, " commercial use allowed");
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const named = row.cells[0].textContent.toLowerCase().includes(wanted);
      const allowed = !commercial.checked || row.dataset.commercial === "yes";
      row.hidden = !(named && allowed);
      shown += row.hidden ? 0 : 1;
    }
    count.value = `${shown} of ${rows.length} rows`;
  };
  search.addEventListener("input", apply);
  commercial.addEventListener("change", apply);
  place.append(searchLabel, commercialLabel, count);
  place.hidden = false;
  apply();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".filter").forEach(makeFilter);
