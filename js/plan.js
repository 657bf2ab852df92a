// Shows the text of Plan Clip as Markdown on the node.
import { app } from "../../scripts/app.js";
import { sayLines } from "./language/say.js";

const NODE = "WanAnimateKitPlanClip";
const NAME = "plan";

app.registerExtension({
    name: "WanAnimateKit.PlanClip",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        const widget = app.widgets.MARKDOWN(node, NAME, ["MARKDOWN", {}], app).widget;
        widget.serialize = false;
        widget.options.serialize = false;
        if (widget.element) widget.element.readOnly = true;
        const before = node.onExecuted;
        node.onExecuted = function (output) {
            before?.apply(this, arguments);
            if (output.text) widget.value = sayLines(output.text.join("\n"));
        };
        node.setSize([Math.max(node.size[0], 420), node.computeSize()[1] + 160]);
    },
});
