// Small helpers for elements.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { say } from "../language/say.js";

export function element(tag, properties = {}, ...children) {
    const { dataset, style, ...rest } = properties;
    const made = Object.assign(document.createElement(tag), rest);
    for (const [name, content] of Object.entries(style ?? {})) made.style.setProperty(name, content);
    made.append(...children);
    return made;
}

export function button(text, title, onclick) {
    const made = element("button", { type: "button", textContent: text, title, onclick });
    made.setAttribute("aria-label", title);
    return made;
}

export function fileUrl({ filename, subfolder = "", type = "temp" }) {
    return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

// "folder/name.mp4 [output]", as the loaders' widgets name a file.
export function namedFile(name) {
    const [, path, type] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(name);
    const at = path.lastIndexOf("/");
    return { filename: path.slice(at + 1), subfolder: path.slice(0, Math.max(at, 0)), type: type ?? "input" };
}

// What is no scrolling and no dragging here is the canvas': zoom and pan over the panel as anywhere else.
export function passOn(host) {
    host.addEventListener("wheel", event => {
        if (globalThis.LiteGraph?.vueNodesMode) return;
        const inside = event.composedPath().find(each => each instanceof HTMLElement
            && ["auto", "scroll"].includes(getComputedStyle(each).overflowY) && each.scrollHeight > each.clientHeight + 1);
        if (inside && !event.ctrlKey) return;
        event.preventDefault();
        app.canvas.processMouseWheel(event);
    }, { passive: false });
    for (const [name, handle] of [["pointerdown", "processMouseDown"], ["pointermove", "processMouseMove"],
        ["pointerup", "processMouseUp"]]) {
        host.addEventListener(name, event => {
            const middle = event.button === 1 || (event.buttons & 4) === 4;
            if (middle && !globalThis.LiteGraph?.vueNodesMode) app.canvas[handle](event);
        });
    }
}

export function duration(seconds) {
    const whole = Math.max(Math.round(seconds), 1);
    const minutes = Math.floor(whole / 60);
    if (!minutes) return say("{0} s", whole);
    if (whole < 3600) return whole % 60 ? say("{0} min {1} s", minutes, whole % 60) : say("{0} min", minutes);
    return say("{0} h {1} min", Math.floor(whole / 3600), Math.round((whole % 3600) / 60));
}
