// Check Models and Download Models show their text as Markdown. The confirmation of a download counts for one run, and
// is not saved with a workflow.
import { app } from "../../scripts/app.js";

const CHECK = "WanAnimateKitCheckModels", DOWNLOAD = "WanAnimateKitDownloadModels";
const WIDTH = 560, HEIGHT = 320;

function ask(node) {
    const confirm = node.widgets?.find(each => each.name === "confirm");
    if (!confirm) return;
    confirm.serialize = false;
    confirm.value = false;
}

app.registerExtension({
    name: "WanAnimateKit.Models",
    nodeCreated(node) {
        if (node.comfyClass !== CHECK && node.comfyClass !== DOWNLOAD) return;
        const text = app.widgets.MARKDOWN(node, "models", ["MARKDOWN", {}], app).widget;
        text.serialize = false;
        text.options.serialize = false;
        if (text.element) text.element.readOnly = true;
        ask(node);
        const configured = node.onConfigure, executed = node.onExecuted;
        node.onConfigure = function () {
            configured?.apply(this, arguments);
            ask(this);
        };
        node.onExecuted = function (output) {
            executed?.apply(this, arguments);
            if (output.text) text.value = output.text.join("\n");
            ask(this);
        };
        node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1] + HEIGHT]);
    },
});
