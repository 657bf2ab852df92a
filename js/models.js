// Check Models and Download Models show a table below themselves, in room that they have from the beginning. The
// confirmation of a download counts for one run, and is not saved with a workflow.
import { app } from "../../scripts/app.js";
import { say } from "./language/say.js";

const NODES = ["WanAnimateKitCheckModels", "WanAnimateKitDownloadModels"];
const NAME = "below", WIDTH = 720, LEAST = 120, WANTED = 470;
const HINT = "Run this node alone to see here what it finds.";
// In a shadow root: nothing of it reaches the page, and the page's colours reach in as variables.
const STYLE = `
:host { display: block; position: relative; width: 100%; height: 100%; min-height: ${LEAST}px; }
.box { position: absolute; inset: 0; overflow: auto; padding: 4px 8px; box-sizing: border-box; border-radius: 6px;
    font: 11px/1.4 Inter, Arial, sans-serif; color: var(--input-text, #ddd); user-select: text;
    background: color-mix(in srgb, var(--comfy-input-bg, #222) 70%, transparent); }
h4 { font-size: 12px; margin: 2px 0 4px; } h4.todo::before { content: "\\25CF  "; color: #f59e0b; }
h4.good::before { content: "\\25CF  "; color: #2f9e63; }
p, li { margin: 2px 0; overflow-wrap: anywhere; } ul { margin: 2px 0; padding-left: 16px; }
table { border-collapse: collapse; width: 100%; margin: 6px 0; }
th, td { text-align: left; vertical-align: top; padding: 2px 8px 2px 0; overflow-wrap: anywhere; min-width: 44px;
    border-bottom: 1px solid color-mix(in srgb, var(--input-text, #ddd) 18%, transparent); }
.short { white-space: nowrap; } a { color: inherit; } .hint { opacity: 0.6; }
`;

function make(tag, text, ...children) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
}

function cell(content) {
    if (typeof content === "string") {
        const made = make("td", say(content));
        if (content.length < 18) made.className = "short";
        return made;
    }
    const link = make("a", content.text);
    if (/^https?:/.test(content.url)) Object.assign(link, { href: content.url, target: "_blank", rel: "noreferrer" });
    return make("td", "", link);
}

// "name: what was found of it", or a sentence.
function note(text) {
    const whole = say(text), at = text.indexOf(": ");
    return whole !== text || at < 0 ? whole : `${text.slice(0, at)}: ${say(text.slice(at + 2))}`;
}

function draw(box, view) {
    const title = make("h4", say(view.title));
    title.className = view.good ? "good" : "todo";
    const parts = [title];
    if (view.notes.length) parts.push(make("ul", "", ...view.notes.map(each => make("li", note(each)))));
    for (const { head, rows } of view.tables) {
        const lines = rows.map(row => make("tr", "", ...row.map(cell)));
        parts.push(make("table", "", make("tr", "", ...head.map(name => make("th", say(name)))), ...lines));
    }
    box.replaceChildren(...parts, ...view.after.map(line => make("p", say(line))));
}

function addTable(node) {
    const host = make("div"), box = make("div", "", make("p", say(HINT)));
    box.className = "box";
    box.firstChild.className = "hint";
    host.attachShadow({ mode: "open" }).append(make("style", STYLE), box);
    host.addEventListener("wheel", event => {
        const scrolls = box.scrollHeight > box.clientHeight + 1 && !event.ctrlKey;
        if (scrolls) event.stopPropagation();
    });
    const widget = node.addDOMWidget(NAME, "wan_animate_kit_models", host, {
        serialize: false, hideOnZoom: false, margin: 4, getMinHeight: () => LEAST, getValue: () => "",
    });
    widget.serialize = false;
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, WIDTH), height + WANTED - LEAST]);
    return box;
}

function ask(node) {
    const confirm = node.widgets?.find(each => each.name === "confirm");
    if (!confirm) return;
    confirm.serialize = false;
    confirm.value = false;
}

app.registerExtension({
    name: "WanAnimateKit.Models",
    nodeCreated(node) {
        if (!NODES.includes(node.comfyClass)) return;
        const box = addTable(node);
        ask(node);
        const configured = node.onConfigure, executed = node.onExecuted;
        node.onConfigure = function () {
            configured?.apply(this, arguments);
            ask(this);
        };
        node.onExecuted = function (output) {
            executed?.apply(this, arguments);
            if (output.view) draw(box, output.view[0]);
            ask(this);
        };
    },
});
