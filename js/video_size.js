// A line on Load Driving Video: what its file becomes (width and height are an area), before anything runs.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { say } from "./language/say.js";

const NODE = "WanAnimateKitLoadVideo";
const NAME = "becomes";
const SETTINGS = ["file", "fps", "width", "height", "start", "limit", "fit"];
const WAIT = 300; // ms without a change

// The settings as the server takes them; null where one comes through a link and is not known here.
function settings(node) {
    const values = {};
    for (const name of SETTINGS) {
        if (node.inputs?.some(input => input.widget?.name === name && input.link != null)) return null;
        values[name] = node.widgets.find(widget => widget.name === name)?.value ?? "";
    }
    return node.inputs?.some(input => input.name === "video" && input.link != null) ? null : values;
}

async function text(node) {
    const values = settings(node);
    if (!values) return say("as the connected video says");
    if (!values.file) return "";
    const answer = await api.fetchApi(`/wan_animate_kit/video?${new URLSearchParams(values)}`);
    const found = await answer.json();
    if (!answer.ok) return found.error ?? "";
    const seconds = (found.frames / found.fps).toFixed(1);
    return say("{0} x {1}, {2} frames, {3} s", found.width, found.height, found.frames, seconds);
}

app.registerExtension({
    name: "WanAnimateKit.VideoSize",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        // not disabled: a disabled widget's value is not drawn; what is typed into it goes again
        const line = node.addWidget("text", NAME, "", () => update(), { serialize: false, read_only: true });
        line.label = say("becomes");
        line.serialize = false;
        let timer = null, asked = 0;
        const update = () => {
            clearTimeout(timer);
            timer = setTimeout(async () => {
                const mine = ++asked;
                const now = await text(node).catch(() => "");
                if (mine !== asked || line.value === now) return;
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
