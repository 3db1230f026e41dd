// What every page gets: the behaviour of the components. Pages work without it.
import { initAll } from "./vendor/govuk-frontend.min.js";

initAll();
