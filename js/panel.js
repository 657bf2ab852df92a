// What this pack's nodes show below themselves. It lies in room that each node has from the beginning: no node grows by a
// run, in either renderer.
import { app } from "../../scripts/app.js";
import { say } from "./language/say.js";
import { listen, restore, watch } from "./panel/events.js";
import { executionId } from "./panel/graph.js";
import { Panel } from "./panel/view.js";

const NAME = "below";
const PICTURES = { least: 120, wanted: 220, hint: "Run this node alone to see here what it makes." };
const KINDS = {
    WanAnimateKitAnimate: {
        ...PICTURES, least: 180, wanted: 330, timeline: true, driver: "pose",
        hint: "Segments, seconds left and the clip beside its driver are shown here.",
    },
    WanAnimateKitStitchCharacter: { ...PICTURES, driver: "frames" },
    WanAnimateKitPlanClip: { ...PICTURES, words: false },
    WanAnimateKitSavePoseTrack: { ...PICTURES, least: 40, wanted: 40, hint: "" },
    WanAnimateKitEditPrompts: { ...PICTURES, least: 80, wanted: 160 },
    // theirs is in models.js, which may be loaded after this
    WanAnimateKitCheckModels: null, WanAnimateKitDownloadModels: null,
};
const panels = new Set();
const OWN_ROOM = ["WanAnimateKitLoadVideo"]; // show their warnings themselves (video_size.js)

function kindOf(node) {
    const type = node.comfyClass ?? node.type ?? "";
    if (!type.startsWith("WanAnimateKit")) return null;
    const shows = node.constructor.nodeData?.output_node || node.constructor.nodeData?.has_intermediate_output;
    return type in KINDS ? KINDS[type] : shows ? PICTURES : null;
}

// A node without a panel: what it warns of is a message of the frontend.
function tell(node) {
    const before = node.onExecuted;
    node.onExecuted = function (output) {
        before?.apply(this, arguments);
        for (const detail of output?.wan_animate_kit?.[0]?.warnings ?? [])
            app.extensionManager?.toast?.add({ severity: "warn", summary: node.title, detail: say(detail), life: 20000 });
    };
}

function add(node) {
    const kind = kindOf(node), type = node.comfyClass ?? node.type ?? "";
    if (kind === null && type.startsWith("WanAnimateKit") && !(type in KINDS) && !OWN_ROOM.includes(type)) tell(node);
    if (!kind || node.widgets?.some(widget => widget.name === NAME)) return;
    const panel = new Panel(node, kind);
    const widget = node.addDOMWidget(NAME, "wan_animate_kit_panel", panel.host, {
        serialize: false, hideOnZoom: false, margin: 4, getMinHeight: () => kind.least, getValue: () => "",
    });
    widget.serialize = false;
    // the host's own previews would take more room below
    node.hideOutputImages = true;
    node.onDrawBackground = () => {};
    const before = node.onExecuted;
    node.onExecuted = function (output) {
        before?.apply(this, arguments);
        panel.show(output);
    };
    const removed = node.onRemoved;
    node.onRemoved = function () {
        removed?.apply(this, arguments);
        panels.delete(panel);
        panel.compare?.pause();
    };
    panels.add(panel);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), height + kind.wanted - kind.least]);
    panel.update();
}

function update() {
    for (const panel of panels) if (panel.node.graph) panel.update();
}

app.registerExtension({
    name: "WanAnimateKit.Panel",
    nodeCreated: add,
    setup() {
        listen();
        watch(update);
        app.ui.settings.addEventListener?.("Comfy.VueNodes.Enabled.change", () => setTimeout(update));
    },
    async afterConfigureGraph() {
        update();
        await restore();
    },
    // A page that is loaded again, or a graph that is opened again, is given what its last run showed.
    onNodeOutputsUpdated(outputs) {
        for (const panel of panels) {
            const id = executionId(panel.node);
            const output = outputs[id] ?? outputs[`${panel.node.graph?.id}:${panel.node.id}`];
            if (output && output !== panel.output) panel.show(output);
        }
    },
});
