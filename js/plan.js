// Shows the text of these nodes as Markdown on the node.
import { app } from "../../scripts/app.js";

const WIDGETS = {
    WanAnimateKitPlanClip: "plan",
    WanAnimateKitCheckModels: "models",
    WanAnimateKitDownloadModels: "models",
};

function widget(node, name) {
    const found = node.widgets?.find(each => each.name === name);
    if (found) return found;
    const made = app.widgets.MARKDOWN(node, name, ["MARKDOWN", {}], app).widget;
    made.serialize = false;
    made.options.serialize = false;
    if (made.element) made.element.readOnly = true;
    return made;
}

app.registerExtension({
    name: "WanAnimateKit.PlanClip",
    beforeRegisterNodeDef(type, definition) {
        const name = WIDGETS[definition.name];
        if (!name) return;
        const before = type.prototype.onExecuted;
        type.prototype.onExecuted = function (output) {
            before?.apply(this, arguments);
            if (output.text) widget(this, name).value = output.text.join("\n");
        };
    },
});
