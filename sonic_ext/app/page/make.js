// @ts-check
import { View } from "./view.js";

export class Make extends View {}

customElements.define("sonic-make", Make);
