// Recovery codes: to paper, or to where somebody keeps such things. Without this they are selected by hand.
const tools = document.querySelector("[data-codes-tools]");
const said = tools.querySelector("[data-codes-said]");
const codes = [...document.querySelectorAll("#codes li")].map((item) => item.textContent.trim());

tools.hidden = false;
tools.querySelector("[data-codes-print]").addEventListener("click", () => window.print());
tools.querySelector("[data-codes-copy]").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(codes.join("\n"));
    said.textContent = "Copied.";
  } catch {
    said.textContent = "They could not be copied. Select them by hand.";
  }
});
