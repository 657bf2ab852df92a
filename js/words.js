// Inputs without a widget in the language of the interface: the frontend puts display_name, which is English, before it.
import { app } from "../../scripts/app.js";

app.registerExtension({
    name: "WanAnimateKit.Words",
    nodeCreated(node) {
        if (!node.comfyClass?.startsWith("WanAnimateKit")) return;
        for (const slot of node.inputs ?? [])
            if (!slot.widget && slot.localized_name && slot.localized_name !== slot.name) slot.label = undefined;
    },
});
