// The widgets on the nodes: a row that opens the points editor, and the pose with its slider.
import { Clip, clipOfFile } from "./clip.js";
import { button, make, openDialog, shadow } from "./dom.js";
import { frameBar } from "./frame_bar.js";
import { keepMounted } from "./mounted.js";
import * as E from "./pose_edits.js";
import { PoseEditor } from "./pose_editor.js";
import { PoseScene } from "./pose_scene.js";
import { PromptEditor } from "./prompt_editor.js";
import { summary } from "./points.js";
import { Stage } from "./stage.js";
import { say } from "../language/say.js";

const ROW = 48;
const POSE = { least: 260, wide: 420 };
const VIDEO_SETTINGS = ["file", "fps", "width", "height", "start", "limit", "fit"];

// A widget that holds text.
function textWidget(node, name, type, host, changed, options) {
    let text = "";
    const widget = node.addDOMWidget(name, type, host, {
        getValue: () => text,
        setValue: value => {
            text = typeof value === "string" ? value : "";
            changed();
        },
        hideOnZoom: false,
        ...options,
    });
    keepMounted(node, host);
    return widget;
}

const value = (node, name) => node.widgets?.find(widget => widget.name === name)?.value;

// Frames before any run: those of the Load Driving Video that is connected.
async function clipBefore(node) {
    const slot = node.inputs?.findIndex(input => input.name === "frames") ?? -1;
    const from = slot < 0 ? null : node.getInputNode?.(slot);
    if (from?.type !== "WanAnimateKitLoadVideo" || from.inputs?.some(i => i.name === "video" && i.link != null))
        throw new Error(say("Run this node once, then its frames can be shown here."));
    const settings = VIDEO_SETTINGS.map(name => [name, value(from, name)]).filter(pair => pair[1] !== undefined);
    return clipOfFile(Object.fromEntries(settings));
}

export function promptsWidget(node, name) {
    const host = make("div");
    const said = make("span", { className: "said" });
    const open = button(say("Edit points"), () => edit(), {
        title: say("opens the editor for points and boxes on the video"), name: "edit-points",
    });
    shadow(host, make("div", { className: "root" }, make("div", { className: "row" }, open, said)));
    const tell = () => (said.textContent = said.title = say("Points: {0}", summary(widget?.value ?? "")));
    const widget = textWidget(node, name, "WAN_ANIMATE_KIT_PROMPTS", host, () => tell(), {
        getMinHeight: () => ROW,
        getMaxHeight: () => ROW,
    });
    tell();
    // The run's frames, unless another video was chosen since.
    async function clip() {
        const before = await clipBefore(node).catch(error => error);
        const ran = node.wanAnimateKitView;
        const same = before instanceof Clip && ran && before.frames === ran.frames && before.width === ran.width
            && before.height === ran.height;
        if (ran && (same || before instanceof Error)) return new Clip(ran);
        if (before instanceof Error) throw before;
        return before;
    }
    async function edit() {
        open.disabled = true;
        try {
            const shown = await clip();
            edited(node, say("Points"), (body, close) => {
                const editor = new PromptEditor(body, close, shown, widget.value, text => (widget.value = text));
                return editor.stage;
            });
        } catch (error) {
            said.textContent = said.title = error.message;
        } finally {
            open.disabled = false;
        }
    }
    return { widget, minWidth: 260, minHeight: ROW };
}

// Opens an editor; the graph's undo takes all that it changed as one step.
function edited(node, label, build) {
    let stage;
    const { graph } = node;
    graph?.beforeChange?.();
    openDialog(label, (body, close) => {
        stage = build(body, close);
        return stage.canvas;
    }, () => {
        stage?.destroy();
        graph?.afterChange?.();
        graph?.setDirtyCanvas?.(true, true);
    });
}

export function poseWidget(node, name) {
    const host = make("div", { style: { minHeight: `${POSE.least}px` } });
    const body = make("div", { className: "root" });
    shadow(host, body);
    let stage = null;
    const widget = textWidget(node, name, "WAN_ANIMATE_KIT_POSE_EDITS", host, () => stage?.refresh(), {
        getMinHeight: () => POSE.least,
    });
    const fade = () => value(node, "fade") ?? 5;
    const note = text => body.replaceChildren(
        make("div", { className: "view" }), make("div", { className: "said", textContent: text }));
    note(say("Run this node to see the pose here and to edit it."));

    node.wanAnimateKitShow = told => {
        const clip = new Clip(told), frame = stage?.frame ?? 0;
        stage?.destroy();
        const edits = () => E.parse(widget.value, clip);
        const scene = new PoseScene(clip, edits, fade);
        stage = new Stage({
            clip, panes: scene.panes, load: at => scene.load(at),
            draw: (context, box, numbers) => scene.draw(context, box, numbers, false),
        });
        stage.refresh = () => {
            stage.mark(E.keyFrames(edits()));
            stage.paint();
        };
        const own = stage;
        const open = button(say("Edit pose"), () => edited(node, say("Pose"), (dialog, close) => {
            own.playing = false;
            const editor = new PoseEditor(dialog, close, {
                clip, text: widget.value, fade: fade(), frame: own.frame, changed: text => (widget.value = text),
            });
            return editor.stage;
        }), { title: say("opens the editor"), name: "edit-pose" });
        stage.number.title = say("frame number");
        body.replaceChildren(stage.view, frameBar(stage, false), make("div", { className: "bar" }, open, stage.said));
        stage.refresh();
        stage.go(frame);
    };
    // what is typed on the slider is not for the graph; its undo stays the graph's
    host.addEventListener("keydown", event => {
        if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
    });
    const removed = node.onRemoved;
    node.onRemoved = function () {
        stage?.destroy();
        return removed?.apply(this, arguments);
    };
    return { widget, minWidth: POSE.wide, minHeight: POSE.least };
}
