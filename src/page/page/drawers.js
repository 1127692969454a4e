/** On a phone the lists beside the talk are drawers: one of them is open, or none. */
import { byId } from "./view.js";

const app = byId("app");
const talk = app.querySelector(".talk");
const drawers = [
  { panel: byId("places"), opener: byId("open-places") },
  { panel: byId("people"), opener: byId("open-people") },
];

function openDrawer({ panel, opener }) {
  closeDrawers();
  app.dataset.drawer = panel.id;
  opener.setAttribute("aria-expanded", "true");
  talk.inert = true;
  panel.querySelector(".close-drawer").focus();
}

export function closeDrawers() {
  const open = drawers.find(({ panel }) => panel.id === app.dataset.drawer);
  if (!open) return;
  delete app.dataset.drawer;
  open.opener.setAttribute("aria-expanded", "false");
  talk.inert = false;
  open.opener.focus();
}

for (const drawer of drawers) {
  drawer.opener.addEventListener("click", () => openDrawer(drawer));
  drawer.panel.querySelector(".close-drawer").addEventListener("click", closeDrawers);
}
byId("scrim").addEventListener("click", closeDrawers);
