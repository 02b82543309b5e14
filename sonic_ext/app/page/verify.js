// @ts-check
import { View } from "./view.js";

export class Verify extends View {}

customElements.define("sonic-verify", Verify);
