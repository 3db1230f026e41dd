// The figures of a dispatch, fetched while they change. Without this there is a link that refreshes the page.
const figures = document.getElementById("figures");
const summary = document.getElementById("summary");
const EVERY = 2_000; // milliseconds
const SAID_EVERY = 10_000;
const LONGEST = 30 * 60_000; // a page that lies open must not keep its officer signed in all day
const began = Date.now();
let said = 0;

function say(text, now) {
  if (summary.textContent !== text && (now || Date.now() - said >= SAID_EVERY)) {
    summary.textContent = text;
    said = Date.now();
  }
}

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(figures.dataset.url, { redirect: "error", headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const found = await answer.json();
      figures.innerHTML = found.html;
      say(found.summary, found.over);
      for (const part of document.querySelectorAll("[data-phases]")) {
        part.hidden = !part.dataset.phases.split(" ").includes(found.phase);
      }
      if (found.over) return;
    } catch {
      // The line is away, or nobody is signed in any more: the next try shows which.
    }
  }
  if (Date.now() - began < LONGEST) setTimeout(refresh, EVERY);
}

if (figures && !("over" in figures.dataset)) setTimeout(refresh, EVERY);
