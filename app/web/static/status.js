// The figures of the status page, fetched while it is open. Without this there is a link that refreshes the page.
const figures = document.getElementById("figures");
const summary = document.getElementById("summary");
const EVERY = 10_000; // milliseconds
const LONGEST = 30 * 60_000; // a page that lies open must not keep somebody signed in all day
const began = Date.now();

async function refresh() {
  if (!document.hidden && !figures.contains(document.activeElement)) {
    try {
      const answer = await fetch(figures.dataset.url, { redirect: "error", headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const found = await answer.json();
      const open = figures.querySelector("details")?.open;
      figures.innerHTML = found.html;
      if (open) figures.querySelector("details")?.setAttribute("open", "");
      if (summary.textContent !== found.summary) summary.textContent = found.summary;
    } catch {
      // The line is away, or nobody is signed in any more: the next try shows which.
    }
  }
  if (Date.now() - began < LONGEST) setTimeout(refresh, EVERY);
}

if (figures) setTimeout(refresh, EVERY);
