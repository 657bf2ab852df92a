// Keypoints of a pose dragged, keyed and hidden on any frame.
import { button, check, make } from "./dom.js";
import * as E from "./pose_edits.js";
import { frameBar, jump, pressed } from "./frame_bar.js";
import { History } from "./history.js";
import { listen } from "./pointers.js";
import { PoseScene } from "./pose_scene.js";
import { CARRIED, nameOf } from "./skeleton.js";
import { Stage } from "./stage.js";
import { say } from "../language/say.js";

export class PoseEditor {
    constructor(body, close, { clip, text, fade, frame = 0, changed }) {
        Object.assign(this, { clip, fade, changed });
        this.history = new History(E.parse(text, clip));
        this.told = text?.trim() ? E.format(this.edits, clip) : "";
        this.scene = new PoseScene(clip, () => this.edits, () => this.fade);
        this.carry = true;
        this.stage = new Stage({
            clip,
            panes: this.scene.panes,
            load: at => this.scene.load(at),
            draw: (context, box, numbers) => this.scene.draw(context, box, numbers, true),
            editable: true,
            changed: () => this.refresh(),
        });
        this.stage.canvas.ariaLabel = say("pose: drag a keypoint");
        this.stage.canvas.style.cursor = "default";
        listen(this.stage, { down: (...a) => this.down(...a), move: (...a) => this.move(...a), up: (...a) => this.up(...a) });
        body.append(...this.top(close), this.stage.view, frameBar(this.stage), this.foot());
        body.addEventListener("keydown", event => this.key(event));
        this.stage.go(frame);
        this.refresh();
    }

    get edits() {
        return this.history.state;
    }

    get selected() {
        return [...this.scene.selected];
    }

    // What an edit of the selection touches: with `carry` the hand, the foot or the head as well.
    get moved() {
        const all = new Set(this.selected);
        if (this.carry) for (const joint of this.selected) for (const one of CARRIED[joint] ?? []) all.add(one);
        return [...all];
    }

    top(close) {
        const one = (label, act, title, key, name) => button(say(label), act, { title: say(title), key, name });
        this.buttons = {
            key: one("Key", () => this.keyHere(), "keeps the place on this frame", "K", "key"),
            unkey: one("Remove key", () => this.unkey(), "of this frame", "Del", "unkey"),
            hide: one("Hide", () => this.hide(false), "on this frame", "H", "hide"),
            hideOn: one("Hide from here", () => this.hide(true), "to the end of the shot", "Shift+H", "hide-on"),
            undo: one("Undo", () => this.step("undo"), "takes back", "Ctrl+Z", "undo"),
            redo: one("Redo", () => this.step("redo"), "makes again", "Ctrl+Y", "redo"),
        };
        const layer = (name, label, title) => check(say(label), this.scene.show[name], value => {
            this.scene.show[name] = value;
            this.stage.go(this.stage.frame);
        }, say(title));
        const first = make("div", { className: "bar" }, make("span", { className: "title", textContent: say("Pose") }),
            ...Object.values(this.buttons), make("span", { className: "space" }),
            button(say("Done"), close, { title: say("closes; edits are kept"), key: "Esc", name: "done" }));
        const second = make("div", { className: "bar" },
            check(say("Carry"), this.carry, value => (this.carry = value),
                say("the wrist takes its hand along, the ankle its foot, the nose the head")),
            layer("body", "Body", "shows the body's keypoints"), layer("hands", "Hands", "shows the hands' keypoints"),
            layer("face", "Face", "shows the face's keypoints"), layer("video", "Picture", "shows the picture behind"),
            layer("before", "Before", "shows the pose before it was edited"));
        return [first, second];
    }

    foot() {
        this.said = make("span", { className: "said" });
        const help = say("Click a keypoint, Shift for more; drag or use the arrows. [ and ] select, Page Up and Page Down " +
            "go to keys. Yellow: keyed on this frame, blue: on others.");
        return make("div", { className: "bar" }, this.said, this.stage.said, make("span", { className: "space" }),
            make("span", { className: "said", textContent: help }));
    }

    apply(edits, merge = false) {
        if (JSON.stringify(edits) === JSON.stringify(this.edits)) return;
        this.history.push(edits, merge);
        this.refresh();
    }

    step(which) {
        this.history[which]();
        this.refresh();
    }

    refresh() {
        const { stage, buttons } = this, frame = stage.frame;
        const some = this.scene.selected.size > 0;
        const keyed = this.moved.some(joint => this.edits.keys[joint]?.[frame] !== undefined);
        const hidden = some && this.selected.every(joint => E.isHidden(this.edits, joint, frame));
        buttons.key.disabled = buttons.hide.disabled = buttons.hideOn.disabled = !some;
        buttons.unkey.disabled = !keyed;
        buttons.hide.firstChild.textContent = say(hidden ? "Show" : "Hide");
        buttons.hideOn.firstChild.textContent = say(hidden ? "Show from here" : "Hide from here");
        buttons.undo.disabled = !this.history.canUndo;
        buttons.redo.disabled = !this.history.canRedo;
        this.said.textContent = some ? this.inWords(keyed, hidden) : say("No keypoint is selected.");
        stage.mark(E.keyFrames(this.edits));
        stage.paint();
        const text = E.format(this.edits, this.clip);
        if (text !== this.told) this.changed(text);
        this.told = text;
    }

    // The selection in words.
    inWords(keyed, hidden) {
        let told = this.selected.slice(0, 3).map(nameOf).reduce((all, one) => say("{0}, {1}", all, one));
        if (this.selected.length > 3) told = say("{0} and {1} more", told, this.selected.length - 3);
        if (keyed) told = say("{0}, keyed here", told);
        if (hidden) told = say("{0}, hidden here", told);
        return say("{0}.", told);
    }

    offsets(joints, across, down) {
        const frame = this.stage.frame, out = {};
        for (const joint of joints) {
            const by = E.offset(this.edits, this.clip, joint, frame, this.fade) ?? { x: 0, y: 0 };
            out[joint] = [by.x + across, by.y + down];
        }
        return out;
    }

    down(event, where, reach) {
        this.before = this.history.at;
        this.dragged = false;
        const found = this.stage.shown === this.stage.frame ? this.scene.hit(this.stage.numbers, where, reach) : null;
        const { selected } = this.scene;
        if (found === null) {
            if (!event.shiftKey) selected.clear();
        } else if (event.shiftKey) selected.has(found) ? selected.delete(found) : selected.add(found);
        else if (!selected.has(found)) {
            selected.clear();
            selected.add(found);
        }
        this.grabbed = found === null ? null : { x: where.x, y: where.y, from: this.offsets(this.moved, 0, 0) };
        this.refresh();
        return found !== null;
    }

    move(_event, where, editing) {
        if (!editing) {
            const over = this.scene.hit(this.stage.numbers, where, 10);
            if (over !== this.scene.hovered) {
                this.scene.hovered = over;
                this.stage.canvas.style.cursor = over === null ? "default" : "grab";
                this.stage.paint();
            }
            return;
        }
        if (!this.grabbed) return;
        const across = where.x - this.grabbed.x, down = where.y - this.grabbed.y;
        if (!this.dragged && Math.hypot(across, down) * where.box.scale < 3) return; // a click
        const moved = Object.entries(this.grabbed.from).map(([joint, [x, y]]) => [joint, [x + across, y + down]]);
        this.apply(E.setKeys(this.edits, this.stage.frame, Object.fromEntries(moved)), this.dragged);
        this.dragged = true;
    }

    up(_event, cancelled) {
        this.grabbed = null;
        if (cancelled) while (this.history.at > this.before) this.history.undo();
        this.refresh();
    }

    nudge(across, down) {
        if (!this.selected.length) return void this.stage.go(this.stage.frame + Math.sign(across));
        this.apply(E.setKeys(this.edits, this.stage.frame, this.offsets(this.moved, across, down)));
    }

    keyHere() {
        this.nudge(0, 0);
    }

    unkey() {
        this.apply(E.removeKeys(this.edits, this.stage.frame, this.moved));
    }

    hide(on) {
        const frame = this.stage.frame;
        const hidden = this.selected.every(joint => E.isHidden(this.edits, joint, frame));
        const stop = on ? E.shot(this.clip, frame)[1] : frame + 1;
        this.apply(E.setHidden(this.edits, this.selected, frame, stop, !hidden));
    }

    select(by) {
        const all = this.scene.handles(), now = all.indexOf(this.selected[0] ?? (by > 0 ? all.length : all[0]));
        this.scene.selected.clear();
        this.scene.selected.add(all[(now + by + all.length) % all.length]);
        this.refresh();
    }

    key(event) {
        if (event.target.type === "number") return;
        const onSlider = event.target.type === "range";
        const arrows = onSlider ? {} : Object.fromEntries(
            [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]].flatMap(([name, x, y]) =>
                [[name, () => this.nudge(x, y)], [`Shift+${name}`, () => this.nudge(10 * x, 10 * y)]]));
        const some = this.selected.length > 0;
        pressed(event, {
            ...arrows,
            ",": () => this.stage.go(this.stage.frame - 1),
            ".": () => this.stage.go(this.stage.frame + 1),
            PageUp: () => jump(this.stage, E.keyFrames(this.edits), false),
            PageDown: () => jump(this.stage, E.keyFrames(this.edits), true),
            "[": () => this.select(-1),
            "]": () => this.select(1),
            ...(event.target.type === "button" || event.target.type === "checkbox" ? {} : { " ": () => this.stage.play() }),
            "Ctrl+z": () => this.step("undo"),
            "Ctrl+y": () => this.step("redo"),
            "Ctrl+Shift+z": () => this.step("redo"),
            ...(some ? {
                k: () => this.keyHere(),
                h: () => this.hide(false),
                "Shift+h": () => this.hide(true),
                Delete: () => this.unkey(),
                Backspace: () => this.unkey(),
                Escape: () => (this.scene.selected.clear(), this.refresh()),
            } : {}),
        });
    }
}
