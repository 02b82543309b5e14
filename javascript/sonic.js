// The browser's half of what crosses from one tab of the WebUI to another. Nothing here reads a text that a
// localisation may have changed: elements are found by id and class.

(function() {
    const SOURCES = {
        txt2img_send_to_sonic: "txt2img_gallery",
        img2img_send_to_sonic: "img2img_gallery",
        extras_send_to_sonic: "extras_gallery",
        pnginfo_send_to_sonic: "pnginfo_image",
    };
    const FIELDS = [
        "#txt2img_prompt textarea",
        "#txt2img_neg_prompt textarea",
        "#txt2img_width input[type=number]",
        "#txt2img_height input[type=number]",
        "#txt2img_steps input[type=number]",
        "#txt2img_cfg_scale input[type=number]",
        "#txt2img_seed input",
        "#txt2img_sampling input:checked, #txt2img_sampling input:not([type=radio])",
    ];
    const FIRST_NUMBER = 2;
    const LAST_NUMBER = 6;
    let taken = "";

    const root = () => typeof gradioApp === "function" ? gradioApp() : document;

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

    function asDataUrl(blob) {
        return new Promise((done, failed) => {
            const reader = new FileReader();
            reader.onload = () => done(reader.result);
            reader.onerror = () => failed(reader.error);
            reader.readAsDataURL(blob);
        });
    }

    // The very bytes, not what a canvas would make of them; empty where there is nothing.
    async function fetched(source) {
        if (!source) return "";
        try {
            const answer = await fetch(source);
            return answer.ok ? await asDataUrl(await answer.blob()) : "";
        } catch (error) {
            console.error("sonic: the picture could not be fetched", error);
            return "";
        }
    }

    async function send(gallery) {
        taken = await fetched(shownPicture(gallery));
        root().querySelector("#sonic_receive")?.click();
        if (taken) switch_to_sonic();
    }

    document.addEventListener("click", event => {
        const button = event.composedPath().find(each => each.id in SOURCES);
        if (button) send(SOURCES[button.id]);
    });

    function number(text) {
        const value = Number(text);
        return text.trim() === "" || Number.isNaN(value) ? null : value;
    }

    function fieldValue(selector, place) {
        const text = root().querySelector(selector)?.value ?? null;
        const isNumber = place >= FIRST_NUMBER && place <= LAST_NUMBER;
        return text !== null && isNumber ? number(text) : text;
    }

    // Shows the tab; usable as the `_js` of an event, like the WebUI's own switches.
    window.switch_to_sonic = function() {
        const tabs = root().querySelector("#tabs");
        const panels = [...tabs.querySelectorAll(":scope > .tabitem")];
        const place = panels.findIndex(each => each.id === "tab_sonic");
        const buttons = tabs.querySelectorAll(":scope > .tab-nav > button, :scope > .tab-wrapper button");
        (root().querySelector("#tab_sonic-button") ?? buttons[place])?.click();
        return Array.from(arguments);
    };

    window.sonic_taken = function() {
        const sent = taken;
        taken = "";
        return sent;
    };

    // prompt, negative prompt, width, height, steps, CFG, seed and sampler of txt2img.
    window.sonic_txt2img_settings = function(known) {
        return FIELDS.map((selector, place) => fieldValue(selector, place) ?? known[place]);
    };

    // Where the WebUI's page has a progress bar and its user wants it, it stands in for ours, with the live
    // preview below; gone as soon as ours names no task any more, or the WebUI's gives up.
    const PLACES = ["sonic_progress", "sonic_portrait_progress"];
    const followed = new Set();
    const frames = new Map();

    function drop(place) {
        frames.get(place)?.remove();
        frames.delete(place);
    }

    function follow(place) {
        const task = place.querySelector("[data-task]")?.dataset.task;
        if (!task) return drop(place);
        const wanted = typeof requestProgress === "function" && typeof opts === "object" && opts.show_progressbar;
        if (followed.has(task) || !wanted) return;
        followed.add(task);
        drop(place);
        const frame = document.createElement("div");
        const [bar, live] = ["bar", "live"].map(name => {
            const part = document.createElement("div");
            part.className = `sonic-host-${name}`;
            return frame.appendChild(part);
        });
        frame.className = "sonic-host";
        place.before(frame);
        frames.set(place, frame);
        requestProgress(task, bar, live, () => frame.isConnected && drop(place));
    }

    function watch() {
        for (const id of PLACES) {
            const place = root().querySelector(`#${id}`);
            if (place) new MutationObserver(() => follow(place)).observe(place, {childList: true, subtree: true});
        }
    }
    if (typeof onUiLoaded === "function") onUiLoaded(watch);

    // The second at which the exported video stands, or the preview where nothing is exported.
    window.sonic_moment = function(known) {
        const videos = ["#sonic_result video", "#sonic_preview video"].map(each => root().querySelector(each));
        const video = videos.find(each => each && each.offsetParent);
        return [...known.slice(0, -1), video ? video.currentTime : 0];
    };
})();
