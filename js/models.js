// The confirmation of Download Models counts for one run, and is not saved with a workflow.
import { app } from "../../scripts/app.js";

const NODE = "WanAnimateKitDownloadModels";

function ask(node) {
    const confirm = node.widgets?.find(each => each.name === "confirm");
    if (!confirm) return;
    confirm.serialize = false;
    confirm.value = false;
}

app.registerExtension({
    name: "WanAnimateKit.Models",
    nodeCreated(node) {
        if (node.comfyClass === NODE) ask(node);
    },
    loadedGraphNode(node) {
        if (node.comfyClass === NODE) ask(node);
    },
    beforeRegisterNodeDef(type, definition) {
        if (definition.name !== NODE) return;
        const before = type.prototype.onExecuted;
        type.prototype.onExecuted = function () {
            before?.apply(this, arguments);
            ask(this);
        };
    },
});
