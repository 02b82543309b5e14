// @ts-check
import { View } from "./view.js";

export class History extends View {}

customElements.define("sonic-history", History);
