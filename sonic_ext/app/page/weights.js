// @ts-check
import { View } from "./view.js";

export class Weights extends View {}

customElements.define("sonic-weights", Weights);
