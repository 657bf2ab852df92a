// The editors of Segment Character (points and boxes) and Edit Pose.
import { app } from "../../scripts/app.js";
import { poseWidget, promptsWidget } from "./editors/widgets.js";

const VIEW = "wan_animate_kit_view"; // nodes/host/views.py
const NODES = new Set(["WanAnimateKitSegmentCharacter", "WanAnimateKitEditPose"]);

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
            const told = output?.[VIEW]?.[0];
            if (!told) return;
            node.wanAnimateKitView = told;
            node.wanAnimateKitShow?.(told);
        };
    },
});
