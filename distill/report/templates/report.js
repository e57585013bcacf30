"use strict";
// Without this script every section stands open and no table sorts: nothing is lost but comfort.

const links = [...document.querySelectorAll("#tabs a")];
const panels = links.map((link) => document.querySelector(link.getAttribute("href")));

function show(number) {
  links.forEach((link, i) => {
    link.setAttribute("aria-selected", String(i === number));
    link.tabIndex = i === number ? 0 : -1;
    panels[i].hidden = i !== number;
  });
  // The verdict stands above the results alone; printed, it stands once.
  document.querySelector(".summary").hidden = number !== 0;
}

function named() {
  return Math.max(0, links.findIndex((link) => link.getAttribute("href") === location.hash));
}

document.querySelector("#tabs").setAttribute("role", "tablist");
links.forEach((link, number) => {
  link.setAttribute("role", "tab");
  link.setAttribute("aria-controls", panels[number].id);
  panels[number].setAttribute("role", "tabpanel");
  panels[number].setAttribute("aria-labelledby", link.id);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href"));
    show(number);
  });
  link.addEventListener("keydown", (event) => {
    const last = links.length - 1;
    const next = {
      ArrowRight: number === last ? 0 : number + 1,
      ArrowLeft: number === 0 ? last : number - 1,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === " ") link.click();
    if (next !== undefined) {
      links[next].focus();
      links[next].click();
    }
    if (next !== undefined || event.key === " ") event.preventDefault();
  });
});
addEventListener("hashchange", () => show(named()));
show(named());

function sortBy(table, heading) {
  const column = [...heading.parentElement.children].indexOf(heading);
  const numeric = heading.classList.contains("number");
  // Figures are looked at from the largest, names from A.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = heading.getAttribute("aria-sort") === first ? other : first;
  for (const one of heading.parentElement.children) one.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const known = (cell) => !numeric || cell.dataset.value !== undefined;
  // Without the note beneath.
  const text = (cell) => cell.firstChild?.textContent.trim() ?? "";
  const compare = (a, b) => {
    const [one, two] = [a.children[column], b.children[column]];
    // What is not known comes last either way.
    if (!known(one) || !known(two)) return known(two) - known(one);
    if (numeric) return sign * (one.dataset.value - two.dataset.value);
    return sign * text(one).localeCompare(text(two), "en", { numeric: true });
  };
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  for (const heading of table.tHead.querySelectorAll("th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sortBy(table, heading));
    heading.replaceChildren(button);
  }
}

const theme = document.querySelector("#theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => (theme.textContent = isDark() ? "Light theme" : "Dark theme");
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
nameTheme();
theme.hidden = false;

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
