// @ts-check
import { View } from "./view.js";

export class Jobs extends View {}

customElements.define("sonic-jobs", Jobs);
