// While an alert is being written: how long its text is, and a filter for areas. The form works without.
const form = document.getElementById("write");
const line = document.getElementById("sms-count");
const PAUSE = 400; // milliseconds after the last key

let waiting;
let asked = 0;

async function count() {
  const mine = ++asked;
  const fields = new FormData(form);
  const body = new URLSearchParams();
  for (const name of ["form_token", "kind", "urgency", "headline", "sms_text"]) body.set(name, fields.get(name) ?? "");
  try {
    const answer = await fetch(line.dataset.url, { method: "POST", body, redirect: "error" });
    const text = await answer.text();
    if (answer.ok && mine === asked && line.innerHTML !== text) line.innerHTML = text;
  } catch {
    // The line is away: the count stays as it was, and saving counts again.
  }
}

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(count, PAUSE);
}

for (const name of ["headline", "sms_text"]) form.elements[name].addEventListener("input", later);
for (const name of ["kind", "urgency"]) {
  for (const radio of form.querySelectorAll(`[name="${name}"]`)) radio.addEventListener("change", later);
}
document.getElementById("count-again").remove();

const filter = document.getElementById("find-area");
if (filter) {
  const typed = document.getElementById("find-area-name");
  const found = document.getElementById("find-area-found");
  const boroughs = [...document.querySelectorAll(".wl-borough")].map((folded) => ({
    folded,
    name: folded.querySelector("summary").textContent.trim().toLowerCase(),
    ticks: [...folded.querySelectorAll(".govuk-checkboxes__item")],
  }));
  filter.hidden = false;

  const show = () => {
    const wanted = typed.value.trim().toLowerCase();
    let many = 0;
    for (const { folded, name, ticks } of boroughs) {
      const whole = name.includes(wanted);
      let here = 0;
      for (const tick of ticks) {
        const chosen = tick.querySelector("input").checked;
        const fits = whole || tick.textContent.toLowerCase().includes(wanted);
        tick.hidden = wanted !== "" && !fits && !chosen;
        here += fits ? 1 : 0;
      }
      const any = ticks.some((tick) => tick.querySelector("input").checked);
      folded.hidden = wanted !== "" && here === 0 && !any;
      folded.open = any || (wanted !== "" && here > 0);
      many += here;
    }
    found.textContent = wanted === "" ? "" : many === 0 ? "No area has this name" : `${many} found`;
  };

  typed.addEventListener("input", show);
  // Enter here looks for an area, and does not save the alert.
  typed.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
}
