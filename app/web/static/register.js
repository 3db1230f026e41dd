// Maps of investigators: places are added to the list of a search, and the parts of an answer shown beside theirs.
// Outlines of wards are our own; without this script the lists say and do the same.
const L = window.L;
const element = document.getElementById("map");
const drawing = document.getElementById("draw");
const parts = [...document.querySelectorAll("[data-corners]")];
const LONDON = [[51.2, -0.65], [51.78, 0.45]];
const STYLES = {
  day: { color: "#942514", weight: 3, fillOpacity: 0.45 },
  "three-days": { color: "#a8540a", weight: 3, fillOpacity: 0.35 },
  week: { color: "#0b4f4a", weight: 2, fillOpacity: 0.3 },
  more: { color: "#0b4f4a", weight: 2, fillOpacity: 0.12 },
  gone: { color: "#484949", weight: 2, fillOpacity: 0.05, dashArray: "5 5" },
};

function begin() {
  const map = L.map(element, {
    zoomAnimation: false, fadeAnimation: false, markerZoomAnimation: false, zoomSnap: 0.5, minZoom: 11, maxZoom: 18,
    maxBounds: LONDON, maxBoundsViscosity: 1, attributionControl: false,
  });
  L.control.scale({ imperial: false }).addTo(map);
  const wards = L.layerGroup().addTo(map);
  let asked = 0;
  map.on("moveend", async () => {
    const mine = ++asked;
    const answer = await fetch(`${element.dataset.wards}?box=${map.getBounds().toBBoxString()}`).catch(() => null);
    if (!answer?.ok || mine !== asked) return;
    const found = await answer.json();
    if (mine !== asked) return;
    wards.clearLayers();
    L.geoJSON(found, { interactive: false, style: { color: "#757778", weight: 1 } }).addTo(wards);
  });
  return map;
}

function corner(text) {
  const found = /^\s*(-?\d{1,2}(?:\.\d+)?)[\s,;]+(-?\d{1,2}(?:\.\d+)?)\s*$/.exec(text);
  return found && [Number(found[1]), Number(found[2])];
}

function draw() {
  const form = element.closest("form");
  const places = form.elements.places;
  drawing.hidden = false;
  const map = begin();
  const drawn = L.layerGroup().addTo(map);
  const style = { color: "#0b4f4a", weight: 3, interactive: false };

  function show() {
    drawn.clearLayers();
    const found = places.value.split("\n").map(corner).filter(Boolean);
    const metres = Number.parseInt(form.elements.metres.value, 10);
    const kind = form.elements.shape.value;
    for (const one of found) L.circleMarker(one, { ...style, radius: 6 }).addTo(drawn);
    if (kind === "radius" && found.length === 1 && metres > 0) L.circle(found[0], { ...style, radius: metres }).addTo(drawn);
    if (kind === "route" && found.length > 1) L.polyline(found, style).addTo(drawn);
    if ((kind === "area" || kind === "view") && found.length > 2) L.polygon(found, style).addTo(drawn);
    return found;
  }

  function lines() {
    return places.value.split("\n").filter((line) => line.trim());
  }

  function add(spot) {
    const line = `${spot.lat.toFixed(6)}, ${spot.lng.toFixed(6)}`;
    const one = ["radius", ""].includes(form.elements.shape.value);
    places.value = (one ? [line] : [...lines(), line]).join("\n");
    show();
  }

  map.on("click", (event) => add(event.latlng));
  document.getElementById("add-middle").addEventListener("click", () => add(map.getCenter()));
  document.getElementById("take-last").addEventListener("click", () => {
    places.value = lines().slice(0, -1).join("\n");
    show();
  });
  for (const name of ["input", "change"]) form.addEventListener(name, show);
  map.setView([51.507, -0.127], 11);
  const found = show();
  if (found.length) map.fitBounds(L.latLngBounds(found).pad(0.5), { maxZoom: 16 });
}

function answer() {
  element.hidden = false;
  const map = begin();
  const shapes = parts.map((part, n) => {
    const corners = part.dataset.corners.split(" ").map((pair) => pair.split(",").map(Number));
    const shape = L.polygon(corners, { ...STYLES[part.dataset.left], className: "wl-part" });
    shape.bindTooltip(String(n + 1), { permanent: true, direction: "center", className: "wl-number" });
    shape.on("click", () => {
      part.scrollIntoView({ block: "center" });
      part.querySelector("input")?.focus({ preventScroll: true });
    });
    for (const name of ["mouseenter", "focusin"]) {
      part.addEventListener(name, () => shape.setStyle({ weight: 6 }).bringToFront());
    }
    for (const name of ["mouseleave", "focusout"]) {
      part.addEventListener(name, () => shape.setStyle({ weight: STYLES[part.dataset.left].weight }));
    }
    return shape;
  });
  map.fitBounds(L.featureGroup(shapes).getBounds().pad(0.1));
  for (const shape of shapes) shape.addTo(map);
}

if (L && element) {
  if (drawing) draw();
  else if (parts.length) answer();
}
