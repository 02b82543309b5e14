// The browser's half of Sonic in a WebUI: it brings the page's element to life, and carries pictures between
// tabs. Nothing here reads a text that a localisation may have changed: elements are found by id and class.

(function() {
    const SOURCES = {
        txt2img_send_to_sonic: "txt2img_gallery",
        img2img_send_to_sonic: "img2img_gallery",
        extras_send_to_sonic: "extras_gallery",
        pnginfo_send_to_sonic: "pnginfo_image",
    };
    const FIELDS = {
        prompt: "#txt2img_prompt textarea",
        negative_prompt: "#txt2img_neg_prompt textarea",
        width: "#txt2img_width input[type=number]",
        height: "#txt2img_height input[type=number]",
        steps: "#txt2img_steps input[type=number]",
        cfg_scale: "#txt2img_cfg_scale input[type=number]",
        seed: "#txt2img_seed input",
        sampler_name: "#txt2img_sampling input:checked, #txt2img_sampling input:not([type=radio])",
    };
    const NUMBERS = ["width", "height", "steps", "cfg_scale", "seed"];

    const root = () => typeof gradioApp === "function" ? gradioApp() : document;
    const page = () => root().querySelector("sonic-app");

    // The picture that a gallery or an image input shows: the chosen one, else the first.
    function shownPicture(id) {
        const place = root().querySelector(`#${id}`);
        if (!place) return null;
        const wanted = [".thumbnail-item.selected img", ".preview > button img, .preview > img",
            ".thumbnail-item img", "img"];
        for (const selector of wanted) {
            const found = [...place.querySelectorAll(selector)].find(each => !each.closest(".livePreview"));
            if (found && found.src) return found.src;
        }
        return null;
    }

    // The very bytes, not what a canvas would make of them; null where there is nothing.
    async function fetched(source) {
        try {
            const answer = source ? await fetch(source) : null;
            return answer?.ok ? await answer.blob() : null;
        } catch (error) {
            console.error("sonic: the picture could not be fetched", error);
            return null;
        }
    }

    document.addEventListener("click", async event => {
        const button = event.composedPath().find(each => each.id in SOURCES);
        if (!button) return;
        const picture = await fetched(shownPicture(SOURCES[button.id]));
        window.switch_to_sonic();
        await customElements.whenDefined("sonic-app");
        page()?.receive(picture);
    });

    function openTab(name) {
        const tabs = root().querySelector("#tabs");
        const panels = [...tabs.querySelectorAll(":scope > .tabitem")];
        const place = panels.findIndex(each => each.id === `tab_${name}`);
        const buttons = tabs.querySelectorAll(":scope > .tab-nav > button, :scope > .tab-wrapper button");
        (root().querySelector(`#tab_${name}-button`) ?? buttons[place])?.click();
    }

    // Shows the tab; usable as the `_js` of an event, like the WebUI's own switches.
    window.switch_to_sonic = function() {
        openTab("sonic");
        return Array.from(arguments);
    };

    // A picture into img2img, as if it had been dropped there.
    function toImg2img(picture) {
        const place = root().querySelector("#img2img_image");
        if (typeof switch_to_img2img === "function") switch_to_img2img(); else openTab("img2img");
        const files = new DataTransfer();
        files.items.add(picture);
        place.querySelector('.modify-upload button + button, .touch-none + div button + button, button[aria-label="Clear"]')?.click();
        requestAnimationFrame(() => {
            const input = place.querySelector("input[type=file]");
            input.files = files.files;
            input.dispatchEvent(new Event("change", {bubbles: true}));
            scrollTo(0, 0);
        });
    }

    // What txt2img is set to now; what cannot be found is left out.
    function txt2imgSettings() {
        const found = {};
        for (const [name, selector] of Object.entries(FIELDS)) {
            const text = root().querySelector(selector)?.value;
            const value = NUMBERS.includes(name) ? Number(text) : text;
            if (text && !Number.isNaN(value)) found[name] = value;
        }
        return found;
    }

    // A localisation comes before the browser's language; its letters tell it, kana are Japanese.
    function language() {
        const words = typeof localization === "object" ? Object.values(localization).join(" ") : "";
        if (!words) return navigator.language;
        return /[\u4e00-\u9fff]/.test(words) && !/[\u3040-\u30ff]/.test(words) ? "zh" : "en";
    }

    onUiLoaded(() => {
        const spoken = language();
        const texts = [...root().querySelectorAll(".sonic-said")];
        const tag = texts.find(each => spoken.toLowerCase().startsWith(each.lang))?.lang ?? "en";
        for (const each of texts) {
            const said = [...each.parentNode.children].some(other => other.lang === tag);
            each.hidden = each.lang !== (said ? tag : "en");
        }
        const element = page();
        if (!element) return;
        element.lang = spoken;
        element.host = {sendToImg2img: toImg2img, txt2imgSettings};
        import(new URL("sonic/page/app.js", document.baseURI).href).catch(error => {
            element.textContent = "Sonic's page could not be loaded. Reload the page; the console says more.";
            console.error("sonic: the page could not be loaded", error);
        });
    });
})();
