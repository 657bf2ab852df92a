// Points and boxes that say where the person is, on any frame of a clip.
import { button, make } from "./dom.js";
import { frameBar, jump, pressed } from "./frame_bar.js";
import { History } from "./history.js";
import { listen } from "./pointers.js";
import * as P from "./points.js";
import { drawDot } from "./skeleton.js";
import { Stage } from "./stage.js";
import { say } from "../language/say.js";

const ON = "#2fbf71", OFF = "#e5484d", BOX = "#f2b134";
const TOOLS = [
    ["positive", "On the person", "1", ON],
    ["negative", "Not the person", "2", OFF],
    ["box", "Box", "3", BOX],
];

export class PromptEditor {
    constructor(body, close, clip, text, changed) {
        Object.assign(this, { clip, changed });
        this.history = new History(P.parse(text, clip.width, clip.height));
        this.tool = "positive";
        this.selected = null; // {point: index} or {corner: 0..3}
        this.masked = clip.has("mask");
        this.stage = new Stage({
            clip,
            panes: [{ width: clip.width, height: clip.height, layer: () => (this.masked ? "mask" : "frame") }],
            draw: (context, box) => this.draw(context, box),
            editable: true,
            changed: () => this.moved(),
        });
        this.stage.canvas.ariaLabel = say("frame: click to set a point");
        this.cursor = { x: clip.width / 2, y: clip.height / 2 };
        listen(this.stage, { down: (...a) => this.down(...a), move: (...a) => this.move(...a), up: (...a) => this.up(...a) });
        body.append(this.top(close), this.stage.view, frameBar(this.stage), this.foot());
        body.addEventListener("keydown", event => this.key(event));
        const first = P.frames(this.state)[0];
        if (first !== undefined) this.stage.go(first);
        this.refresh();
    }

    get state() {
        return this.history.state;
    }

    get here() {
        return P.at(this.state, this.stage.frame);
    }

    top(close) {
        this.tools = TOOLS.map(([name, label, key, own]) =>
            button(say(label), () => this.choose(name), {
                title: say("then click on the frame"), key, own, square: name === "box", pressed: name === this.tool, name,
            }));
        this.undoButton = button(say("Undo"), () => this.step("undo"), {
            title: say("takes back"), key: "Ctrl+Z", name: "undo",
        });
        this.redoButton = button(say("Redo"), () => this.step("redo"), {
            title: say("makes again"), key: "Ctrl+Y", name: "redo",
        });
        this.deleteButton = button(say("Delete"), () => this.remove(), {
            title: say("what is selected"), key: "Del", name: "delete",
        });
        this.clearButton = button(say("Clear frame"), () => this.apply(P.clear(this.state, this.stage.frame)), {
            title: say("takes all of this frame away"), name: "clear",
        });
        const bar = make("div", { className: "bar" }, make("span", { className: "title", textContent: say("Points") }),
            ...this.tools, this.undoButton, this.redoButton, this.deleteButton, this.clearButton,
            make("span", { className: "space" }));
        if (this.clip.has("mask")) {
            this.maskButton = button(say("Mask"), () => this.showMask(!this.masked), {
                title: say("shows the mask of the last run"), key: "M", pressed: true, name: "mask",
            });
            bar.append(this.maskButton);
        }
        bar.append(button(say("Done"), close, { title: say("closes; points are kept"), key: "Esc", name: "done" }));
        return bar;
    }

    foot() {
        this.said = make("span", { className: "said" });
        const help = say("Drag moves. Right click sets a negative point. N sets one at the cross, arrows move it, [ and ] " +
            "select, Page Up and Page Down go to frames with points.");
        return make("div", { className: "bar" }, this.said, this.stage.said, make("span", { className: "space" }),
            make("span", { className: "said", textContent: help }));
    }

    choose(tool) {
        this.tool = tool;
        this.tools.forEach(one => one.setAttribute("aria-pressed", String(one.dataset.name === tool)));
        this.stage.canvas.focus({ preventScroll: true });
    }

    showMask(shown) {
        this.masked = shown;
        this.maskButton?.setAttribute("aria-pressed", String(shown));
        this.stage.go(this.stage.frame);
    }

    apply(state, merge = false) {
        if (JSON.stringify(state) === JSON.stringify(this.state)) return;
        this.history.push(state, merge);
        this.refresh();
    }

    step(which) {
        const before = this.state;
        const after = this.history[which]();
        this.selected = null;
        const touched = [...new Set([...P.frames(before), ...P.frames(after)])]
            .find(f => JSON.stringify(before[f]) !== JSON.stringify(after[f]));
        if (touched !== undefined && touched !== this.stage.frame) this.stage.go(touched);
        this.refresh();
    }

    // Another frame: nothing on it is selected.
    moved() {
        if (this.shown !== this.stage.frame) this.selected = null;
        this.shown = this.stage.frame;
        this.refresh();
    }

    refresh() {
        const { points, box } = this.here;
        if (this.selected?.point >= points.length || (this.selected?.corner !== undefined && !box)) this.selected = null;
        this.undoButton.disabled = !this.history.canUndo;
        this.redoButton.disabled = !this.history.canRedo;
        this.deleteButton.disabled = !this.selected;
        this.clearButton.disabled = !points.length && !box;
        const text = P.format(this.state, this.clip.width, this.clip.height);
        const lost = this.clip.lost?.length;
        const told = lost ? ` ${say("The person was lost in {0} frames (red).", lost)}` : "";
        this.said.textContent = say("Prompts: {0}.", P.summary(text)) + told;
        this.stage.mark(P.frames(this.state), this.clip.lost);
        this.stage.paint();
        if (text !== this.told) this.changed(text);
        this.told = text;
    }

    inside(x, y) {
        const { width, height } = this.clip;
        return { x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1) };
    }

    hit({ x, y, box: { scale } }, reach) {
        const { points, box } = this.here;
        const near = (a, b) => Math.hypot(a - x, b - y) * scale;
        let best = null, least = reach;
        points.forEach((p, i) => near(p.x, p.y) <= least && ([best, least] = [{ point: i }, near(p.x, p.y)]));
        corners(box).forEach(([a, b], i) => near(a, b) <= least && ([best, least] = [{ corner: i }, near(a, b)]));
        return best;
    }

    down(event, where, reach) {
        const { x, y } = this.inside(where.x, where.y);
        const outside = Math.abs(x - where.x) > 1 || Math.abs(y - where.y) > 1;
        const negative = event.button === 2 || this.tool === "negative" || event.shiftKey;
        this.before = this.history.at;
        this.selected = this.hit(where, reach);
        const frame = this.stage.frame;
        this.dragged = false;
        if (this.selected) {
            this.refresh();
            return true;
        }
        if (outside) return false;
        if (this.tool === "box" && event.button !== 2) {
            this.drawn = { x, y };
            this.refresh();
            return true;
        }
        this.apply(P.add(this.state, frame, { x, y, label: negative ? 0 : 1 }));
        this.selected = { point: this.here.points.length - 1 };
        this.dragged = true; // what follows belongs to the same step
        this.refresh();
        return true;
    }

    move(event, where, editing) {
        const { x, y } = this.inside(where.x, where.y);
        this.cursor = { x, y };
        if (!editing) return;
        const frame = this.stage.frame;
        let next = null;
        if (this.drawn) {
            const far = Math.max(Math.abs(x - this.drawn.x), Math.abs(y - this.drawn.y)) * where.box.scale > 4;
            if (far) next = P.setBox(this.state, frame, [this.drawn.x, this.drawn.y, x, y]);
        } else if (this.selected?.point !== undefined) next = P.move(this.state, frame, this.selected.point, x, y);
        else if (this.selected) next = P.setBox(this.state, frame, this.resized(x, y));
        if (!next) return;
        this.apply(next, this.dragged);
        this.dragged = true;
    }

    // The box with the held corner at x, y; the corner opposite stays, also when it is dragged across.
    resized(x, y) {
        this.anchor ??= corners(this.here.box)[(this.selected.corner + 2) % 4];
        return [...this.anchor, x, y];
    }

    up(_event, cancelled) {
        this.drawn = this.anchor = null;
        if (cancelled) while (this.history.at > this.before) this.history.undo();
        this.refresh();
    }

    remove() {
        if (!this.selected) return;
        const frame = this.stage.frame, { point } = this.selected;
        this.selected = null;
        this.apply(point === undefined ? P.setBox(this.state, frame, null) : P.remove(this.state, frame, point));
        this.refresh();
    }

    place() {
        this.apply(P.add(this.state, this.stage.frame, { ...this.cursor, label: this.tool === "negative" ? 0 : 1 }));
        this.selected = { point: this.here.points.length - 1 };
        this.refresh();
    }

    select(by) {
        const count = this.here.points.length;
        if (count) this.selected = { point: ((this.selected?.point ?? (by > 0 ? -1 : 0)) + by + count) % count };
        this.refresh();
    }

    nudge(across, down) {
        const frame = this.stage.frame;
        if (this.selected?.point !== undefined) {
            const held = this.here.points[this.selected.point];
            const { x, y } = this.inside(held.x + across, held.y + down);
            this.apply(P.move(this.state, frame, this.selected.point, x, y));
        } else if (this.selected) {
            const box = this.here.box;
            this.apply(P.setBox(this.state, frame, box.map((side, i) => side + (i % 2 ? down : across))));
        } else {
            this.cursor = this.inside(this.cursor.x + across, this.cursor.y + down);
            this.crossed = true;
        }
        this.stage.paint();
    }

    key(event) {
        if (event.target.type === "number") return;
        const onSlider = event.target.type === "range";
        const arrow = (across, down) => () => {
            const far = event.shiftKey ? 10 : 1;
            this.nudge(across * far, down * far);
        };
        const arrows = onSlider ? {} : Object.fromEntries(
            [["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]]
                .flatMap(([name, x, y]) => [[name, arrow(x, y)], [`Shift+${name}`, arrow(x, y)]]));
        const frames = P.frames(this.state);
        pressed(event, {
            ...arrows,
            1: () => this.choose("positive"),
            2: () => this.choose("negative"),
            3: () => this.choose("box"),
            n: () => this.place(),
            m: () => this.showMask(!this.masked && this.clip.has("mask")),
            Delete: () => this.remove(),
            Backspace: () => this.remove(),
            "[": () => this.select(-1),
            "]": () => this.select(1),
            ",": () => this.stage.go(this.stage.frame - 1),
            ".": () => this.stage.go(this.stage.frame + 1),
            PageUp: () => jump(this.stage, frames, false),
            PageDown: () => jump(this.stage, frames, true),
            ...(event.target.type === "button" ? {} : { " ": () => this.stage.play() }),
            "Ctrl+z": () => this.step("undo"),
            "Ctrl+y": () => this.step("redo"),
            "Ctrl+Shift+z": () => this.step("redo"),
            ...(this.selected ? { Escape: () => ((this.selected = null), this.refresh()) } : {}),
        });
    }

    draw(context, { x, y, scale }) {
        const { points, box } = this.here;
        if (box) {
            const [a, b, c, d] = box;
            context.lineWidth = 2;
            context.strokeStyle = BOX;
            context.strokeRect(x + a * scale, y + b * scale, (c - a) * scale, (d - b) * scale);
            corners(box).forEach(([p, q], i) => {
                const held = this.selected?.corner === i;
                context.fillStyle = held ? "#fff" : BOX;
                context.fillRect(x + p * scale - 5, y + q * scale - 5, 10, 10);
            });
        }
        points.forEach((point, i) => {
            const px = x + point.x * scale, py = y + point.y * scale, held = this.selected?.point === i;
            drawDot(context, px, py, held ? 9 : 7, point.label ? ON : OFF, held ? "#fff" : "rgba(0,0,0,.75)");
            context.fillStyle = "#fff";
            context.fillRect(px - 3.5, py - 1, 7, 2);
            if (point.label) context.fillRect(px - 1, py - 3.5, 2, 7);
        });
        if (this.crossed && !this.selected) {
            const px = x + this.cursor.x * scale, py = y + this.cursor.y * scale;
            context.fillStyle = "#fff";
            context.fillRect(px - 12, py - 0.5, 24, 1);
            context.fillRect(px - 0.5, py - 12, 1, 24);
        }
    }
}

function corners(box) {
    if (!box) return [];
    const [a, b, c, d] = box;
    return [[a, b], [c, b], [c, d], [a, d]];
}
