// The editors of Segment Character (points and boxes) and Edit Pose.
import { app } from "../../scripts/app.js";
import { poseWidget, promptsWidget } from "./editors/widgets.js";

const VIEW = "wan_animate_kit_view"; // nodes/host/views.py
const NODES = new Set(["WanAnimateKitSegmentCharacter", "WanAnimateKitEditPose"]);

function show(node, output) {
    const told = output?.[VIEW]?.[0];
    if (!told || !NODES.has(node?.comfyClass) || node.wanAnimateKitView?.view === told.view) return;
    node.wanAnimateKitView = told;
    node.wanAnimateKitShow?.(told);
}

app.registerExtension({
    name: "WanAnimateKit.Editors",
    getCustomWidgets: () => ({
        WAN_ANIMATE_KIT_PROMPTS: promptsWidget,
        WAN_ANIMATE_KIT_POSE_EDITS: poseWidget,
    }),
    nodeCreated(node) {
        if (!NODES.has(node.comfyClass)) return;
        const before = node.onExecuted;
        node.onExecuted = function (output) {
            before?.apply(this, arguments);
            show(node, output);
        };
    },
    // after undo, or back on the tab of a workflow that ran, the nodes are new ones
    onNodeOutputsUpdated(outputs) {
        for (const [id, output] of Object.entries(outputs)) if (output?.[VIEW]) show(app.graph?.getNodeById(id), output);
    },
});
