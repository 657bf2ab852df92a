// Shows the text of Plan Clip as Markdown on the node.
import { app } from "../../scripts/app.js";

const NODE = "WanAnimateKitPlanClip";
const NAME = "plan";

function widget(node) {
    const found = node.widgets?.find(each => each.name === NAME);
    if (found) return found;
    const made = app.widgets.MARKDOWN(node, NAME, ["MARKDOWN", {}], app).widget;
    made.serialize = false;
    made.options.serialize = false;
    if (made.element) made.element.readOnly = true;
    return made;
}

app.registerExtension({
    name: "WanAnimateKit.PlanClip",
    beforeRegisterNodeDef(type, definition) {
        if (definition.name !== NODE) return;
        const before = type.prototype.onExecuted;
        type.prototype.onExecuted = function (output) {
            before?.apply(this, arguments);
            if (output.text) widget(this).value = output.text.join("\n");
        };
    },
});
