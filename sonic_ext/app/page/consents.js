// @ts-check
import { View } from "./view.js";

export class Consents extends View {}

customElements.define("sonic-consents", Consents);
