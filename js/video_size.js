// On Load Driving Video, before anything runs: a line on what its file becomes (width and height are an area), and
// sentences on what it is converted from (HDR, interlaced, pixels that are not square, edges cut off).
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { say } from "./language/say.js";
import { element, passOn } from "./panel/dom.js";
import { STYLE } from "./panel/style.js";

const NODE = "WanAnimateKitLoadVideo";
const NAME = "becomes";
const SETTINGS = ["file", "fps", "width", "height", "start", "limit", "fit"];
const WAIT = 300; // ms without a change
const NOTES = "notes", ROOM = 64; // pixels for notes, where there are any

// The settings as the server takes them; null where one comes through a link and is not known here.
function settings(node) {
    const values = {};
    for (const name of SETTINGS) {
        if (node.inputs?.some(input => input.widget?.name === name && input.link != null)) return null;
        values[name] = node.widgets.find(widget => widget.name === name)?.value ?? "";
    }
    return node.inputs?.some(input => input.name === "video" && input.link != null) ? null : values;
}

// The line, and the notes: null where only a run tells them.
async function asked(node) {
    const values = settings(node);
    if (!values) return [say("as the connected video says"), null];
    if (!values.file) return ["", []];
    const answer = await api.fetchApi(`/wan_animate_kit/video?${new URLSearchParams(values)}`);
    const found = await answer.json();
    if (!answer.ok) return [found.error ?? "", []];
    const seconds = (found.frames / found.fps).toFixed(1);
    return [say("{0} x {1}, {2} frames, {3} s", found.width, found.height, found.frames, seconds), found.notes];
}

// Sentences in a widget that is there only while there are some; the preview of the video gives it its room.
function notesOf(node) {
    let widget = null, list = null;
    return notes => {
        if (widget && !notes.length) {
            node.removeWidget(widget);
            widget = null;
        } else if (!widget && notes.length) {
            list = element("div", { className: "warnings" });
            list.setAttribute("role", "note");
            list.style.maxHeight = "100%";
            const host = element("div", { style: { "min-height": `${ROOM}px` } });
            host.attachShadow({ mode: "open" }).append(element("style", { textContent: STYLE }),
                element("div", { className: "panel" }, list));
            passOn(host);
            const room = () => ROOM;
            widget = node.addDOMWidget(NOTES, "wan_animate_kit_notes", host, {
                serialize: false, hideOnZoom: false, margin: 4, getMinHeight: room, getMaxHeight: room, getValue: () => "",
            });
            widget.serialize = false;
        }
        if (widget) list.replaceChildren(...notes.map(each => element("p", { textContent: each, title: each })));
        node.setDirtyCanvas?.(true);
    };
}

app.registerExtension({
    name: "WanAnimateKit.VideoSize",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        // not disabled: a disabled widget's value is not drawn; what is typed into it goes again
        const line = node.addWidget("text", NAME, "", () => update(), { serialize: false, read_only: true });
        line.label = say("becomes");
        line.serialize = false;
        const note = notesOf(node);
        let timer = null, latest = 0;
        const update = () => {
            clearTimeout(timer);
            timer = setTimeout(async () => {
                const mine = ++latest;
                const [now, notes] = await asked(node).catch(() => ["", []]);
                if (mine !== latest) return;
                if (notes) note(notes);
                if (line.value === now) return;
                line.value = now;
                node.setDirtyCanvas?.(true);
            }, WAIT);
        };
        for (const name of SETTINGS) {
            const widget = node.widgets.find(each => each.name === name);
            if (!widget) continue;
            const before = widget.callback;
            widget.callback = function () {
                update();
                return before?.apply(this, arguments);
            };
        }
        const executed = node.onExecuted;
        node.onExecuted = function (output) {
            executed?.apply(this, arguments);
            note(output?.wan_animate_kit?.[0]?.warnings ?? []);
        };
        for (const hook of ["onConfigure", "onConnectionsChange"]) {
            const before = node[hook];
            node[hook] = function () {
                update();
                return before?.apply(this, arguments);
            };
        }
        update();
    },
});
